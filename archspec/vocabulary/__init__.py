"""The vocabulary: one class for each thing that a spec can say, in the field's own terms."""

from archspec.vocabulary.base import DefaultKind, Size, Word
from archspec.vocabulary.head import FirstTokenPooler, Head, LmHead, MlmHead, NoHead, NoPooler, Pooler
from archspec.vocabulary.mixer import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LatentBias,
    LocalizedFilter,
    ProjectionBias,
)
from archspec.vocabulary.mlp import Activation, DenseMlp, ExpertGroups, GatedMlp, Mlp, MoeMlp, PlainMlp, Router
from archspec.vocabulary.model import PER_LAYER, Embedding, Layer, LayerShape, Model, Prefix, Skip
from archspec.vocabulary.norm import (
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
from archspec.vocabulary.position import (
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
    Rope,
    RopeScaling,
    YarnScaling,
)

__all__ = [
    "PER_LAYER", "Activation", "Alibi", "Attention", "BlockRope", "DefaultKind", "DenseMlp", "DynamicScaling",
    "Embedding", "ExpertGroups", "FirstTokenPooler", "GatedMlp", "GroupedQueryAttention", "Head", "LatentAttention",
    "LatentBias", "Layer", "LayerNorm", "LayerShape", "Learned", "LinearScaling", "Llama3Scaling", "LmHead",
    "LocalizedFilter", "LongRopeScaling", "MlmHead", "Mlp", "Model", "MoeMlp", "NoHead", "NoNorm", "NoPooler",
    "NoPosition", "NoScaling", "Norm", "PlacedNorm", "Placement", "PlainMlp", "Pooler", "Position", "Prefix",
    "ProjectionBias", "PromptNtkScaling", "QkLayerNorm", "QkNorm", "QkRmsNorm", "RmsNorm", "Rope", "RopeScaling",
    "Router", "Size", "Skip", "Stretch", "Word", "YarnScaling",
]  # fmt: skip
