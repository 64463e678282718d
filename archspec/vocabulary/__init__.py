"""The vocabulary: one class for each thing that a spec can say, in the field's own terms."""

from archc.archspec.vocabulary.base import DefaultKind, Size, Word
from archc.archspec.vocabulary.head import FirstTokenPooler, Head, LmHead, MlmHead, NoHead, NoPooler, Pooler
from archc.archspec.vocabulary.mixer import (
    Attention,
    CrossAttention,
    GroupedQueryAttention,
    LatentAttention,
    LatentBias,
    LocalizedFilter,
    ProjectionBias,
)
from archc.archspec.vocabulary.mlp import (
    Activation,
    ChannelMixing,
    DenseMlp,
    ExpertGroups,
    GatedMlp,
    Mlp,
    MoeMlp,
    PlainMlp,
    Router,
)
from archc.archspec.vocabulary.model import (
    PER_LAYER,
    Embedding,
    EmbeddingProjection,
    Encoder,
    Layer,
    LayerShape,
    Model,
    Prefix,
    Skip,
    differs_by_layer,
)
from archc.archspec.vocabulary.norm import (
    LayerNorm,
    NoNorm,
    Norm,
    PlacedNorm,
    Placement,
    QkLayerNorm,
    QkNorm,
    QkRmsNorm,
    RmsNorm,
    Stretch,
)
from archc.archspec.vocabulary.position import (
    Alibi,
    BlockRope,
    DynamicScaling,
    Learned,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NoPosition,
    NoScaling,
    Position,
    PromptNtkScaling,
    RelativeBuckets,
    Rope,
    RopeScaling,
    Sinusoidal,
    YarnScaling,
)
from archc.archspec.vocabulary.recurrence import (
    DecayedAverage,
    DeltaRule,
    DynamicShift,
    GiveValues,
    HeadNorm,
    LearnedDecay,
    LinearAttention,
    LowRankDecay,
    Recurrence,
    SelectiveScan,
    StaticShift,
    TakeValues,
    TokenShift,
)

__all__ = [
    "PER_LAYER", "Activation", "Alibi", "Attention", "BlockRope", "ChannelMixing", "CrossAttention", "DecayedAverage",
    "DefaultKind", "DeltaRule", "DenseMlp", "DynamicScaling", "DynamicShift", "Embedding", "EmbeddingProjection",
    "Encoder", "ExpertGroups", "FirstTokenPooler", "GatedMlp", "GiveValues", "GroupedQueryAttention", "Head",
    "HeadNorm", "LatentAttention", "LatentBias", "Layer", "LayerNorm", "LayerShape", "Learned", "LearnedDecay",
    "LinearAttention", "LinearScaling", "Llama3Scaling", "LmHead", "LocalizedFilter", "LongRopeScaling",
    "LowRankDecay", "MlmHead", "Mlp", "Model", "MoeMlp", "NoHead", "NoNorm", "NoPooler", "NoPosition", "NoScaling",
    "Norm", "PlacedNorm", "Placement", "PlainMlp", "Pooler", "Position", "Prefix", "ProjectionBias",
    "PromptNtkScaling", "QkLayerNorm", "QkNorm", "QkRmsNorm", "Recurrence", "RelativeBuckets", "RmsNorm", "Rope",
    "RopeScaling", "Router", "SelectiveScan", "Sinusoidal", "Size", "Skip", "StaticShift", "Stretch", "TakeValues",
    "TokenShift", "Word", "YarnScaling", "differs_by_layer",
]  # fmt: skip
