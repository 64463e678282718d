"""The request router of Ray Serve for replicas of a plan."""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from archc.serve.ray.routing import order_replicas


class PrefixRouter(RequestRouter):
    """Chooses a replica by the key of a request, the first argument of its call, and by the load of the replicas."""

    def initialize_state(self, slots: int) -> None:
        """Read the keyword arguments of the router's configuration: the requests that a replica computes at a time."""
        self._slots = slots

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return replicas one by one in the order in which to try them."""
        key = ""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True  # all replicas are in the list already
            key = str(pending_request.args[0]) if pending_request.args else ""
        by_id = {replica.replica_id.to_full_id_str(): replica for replica in candidate_replicas}
        loads = {name: self._replica_queue_len_cache.get(replica.replica_id) or 0 for name, replica in by_id.items()}
        return [[by_id[name]] for name in order_replicas(key, loads, self._slots)]
