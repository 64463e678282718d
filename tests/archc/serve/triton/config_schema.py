"""The messages of Triton's model_config.proto that config.pbtxt uses: of the package tritonclient, or built here."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPES = ("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16")
_TYPES += ("FP32", "FP64", "STRING", "BF16")
_KINDS = ("AUTO", "GPU", "CPU", "MODEL")
_MESSAGES = {
    "ModelConfig": (
        ("name", 1, "string"),
        ("backend", 17, "string"),
        ("max_batch_size", 4, "int32"),
        ("input", 5, "ModelInput*"),
        ("output", 6, "ModelOutput*"),
        ("instance_group", 7, "ModelInstanceGroup*"),
        ("parameters", 14, "ModelConfig.ParametersEntry*"),
        ("model_transaction_policy", 19, "ModelTransactionPolicy"),
    ),
    "ModelInput": (("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 4, "int64*"), ("optional", 8, "bool")),
    "ModelOutput": (("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 3, "int64*")),
    "ModelInstanceGroup": (("kind", 4, "ModelInstanceGroup.Kind"), ("count", 2, "int32")),
    "ModelParameter": (("string_value", 1, "string"),),
    "ModelTransactionPolicy": (("decoupled", 1, "bool"),),
}
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    scalars = {"string": _Field.TYPE_STRING, "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32}
    scalars["int64"] = _Field.TYPE_INT64
    if kind in scalars:
        field.type = scalars[kind]
    else:
        field.type = _Field.TYPE_ENUM if kind.endswith(("DataType", "Kind")) else _Field.TYPE_MESSAGE
        field.type_name = f".inference.{kind}"


def model_config() -> Any:
    """Return an empty ModelConfig."""
    try:
        from tritonclient.grpc.model_config_pb2 import ModelConfig
    except ImportError:
        return _built()
    return ModelConfig()


def _built() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="subset.proto", package="inference", syntax="proto3")
    types = file.enum_type.add(name="DataType")
    for number, name in enumerate(_TYPES):
        types.value.add(name=f"TYPE_{name}", number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
        if name == "ModelInstanceGroup":
            kinds = message.enum_type.add(name="Kind")
            for number, kind in enumerate(_KINDS):
                kinds.value.add(name=f"KIND_{kind}", number=number)
        if name == "ModelConfig":
            entry = message.nested_type.add(name="ParametersEntry")
            entry.options.map_entry = True
            _add_field(entry, "key", 1, "string")
            _add_field(entry, "value", 2, "ModelParameter")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
