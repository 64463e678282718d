"""The deployments of Ray Serve: gateways in front of replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ray import exceptions, serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError
from starlette.types import ASGIApp, Message

from archc.serve.ray.gateway import Forwarded, ReplicaLostError, ReplicasFullError, create_gateway
from archc.serve.ray.options import RayOptions
from archc.serve.ray.replica import Replica

REPLICA, GATEWAY = "Replica", "Gateway"
_ROUTER = "archc.serve.ray.router.PrefixRouter"
_LOST = (
    exceptions.RayActorError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
    exceptions.WorkerCrashedError,
    ReplicaUnavailableError,
)
_MOST_AT_GATEWAY = 100_000  # the queue of the replicas is the limit


class _HandleReplicas:
    """The replicas of a deployment handle."""

    def __init__(self, handle: Any) -> None:
        self._method = handle.options(stream=True).answer

    async def answer(self, key: str, request: Forwarded) -> AsyncIterator[list[Message]]:
        response = self._method.remote(key, request)
        is_done = False
        try:
            async for messages in response:
                yield messages
            is_done = True
        except _LOST as error:
            raise ReplicaLostError(type(error).__name__) from error
        except BackPressureError as error:
            raise ReplicasFullError from error
        finally:
            if not is_done:
                response.cancel()


def build(options: RayOptions) -> Any:
    """Return the application: a gateway deployment bound to the deployment of replicas."""
    serving, attempts = options.serving, options.attempts

    def build_app() -> ASGIApp:
        return create_gateway(_HandleReplicas(serve.get_deployment_handle(REPLICA)), serving.max_body, attempts)

    gateway = serve.deployment(
        serve.ingress(build_app)(),
        name=GATEWAY,
        num_replicas=options.gateways,
        max_ongoing_requests=_MOST_AT_GATEWAY,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=options.drain,
    )
    return gateway.bind(_replicas(options).bind(options.plans, serving))


def _replicas(options: RayOptions) -> Any:
    return serve.deployment(
        Replica,
        name=REPLICA,
        max_ongoing_requests=options.slots + options.queue,
        max_queued_requests=options.queue,
        ray_actor_options={"num_cpus": options.cpus or options.computing_threads},
        autoscaling_config=AutoscalingConfig(
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            target_ongoing_requests=options.target or options.slots,
        ),
        request_router_config=RequestRouterConfig(
            request_router_class=_ROUTER, request_router_kwargs={"slots": options.slots}
        ),
        health_check_period_s=options.health_period,
        health_check_timeout_s=options.health_timeout,
        graceful_shutdown_timeout_s=options.drain,
        graceful_shutdown_wait_loop_s=1,
    )
