"""Which architectures are converted, and how each is made: small inputs, random weights.

A family that the lowering engine is about has at least one member here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TIMM = [
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "deit3_small_patch16_224",
    "cait_xxs24_224",
    "crossvit_tiny_240",
    "volo_d1_224",
    "coat_tiny",
    "xcit_nano_12_p16_224",
    "eva02_tiny_patch14_224",
    "visformer_tiny",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "maxvit_rmlp_pico_rw_256",
    "tiny_vit_5m_224",
    "efficientvit_b0",
    "efficientvit_m0",
    "twins_svt_small",
    "twins_pcpvt_small",
    "gcvit_xxtiny",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "levit_128s",
    "convnext_atto",
    "convnextv2_atto",
    "resmlp_12_224",
    "mixer_s32_224",
    "gmixer_12_224",
    "poolformer_s12",
    "poolformerv2_s12",
    "pit_ti_224",
    "convit_tiny",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "fastvit_t8",
    "repvit_m1",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "ghostnet_100",
    "resnet18",
    "resnest14d",
    "regnety_002",
    "regnetx_002",
    "densenet121",
    "dla34",
    "hrnet_w18_small",
    "inception_v3",
    "nfnet_l0",
    "res2net50_26w_4s",
    "seresnet18",
    "tresnet_m",
    "vovnet39a",
    "xception41",
    "focalnet_tiny_srf",
    "davit_tiny",
    "hiera_tiny_224",
    "nest_tiny",
    "sequencer2d_s",
    "starnet_s1",
    "tf_efficientnet_lite0",
    "mambaout_femto",
    "inception_next_atto",
    "caformer_s18",
]
TORCHVISION = [
    "swin_t",
    "swin_v2_t",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "squeezenet1_0",
    "googlenet",
    "mnasnet0_5",
    "convnext_tiny",
    "maxvit_t",
]
SEGMENTATION = ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"]
TRANSFORMERS = [
    "bert",
    "roberta",
    "mpnet",
    "distilbert",
    "albert",
    "electra",
    "deberta_v2",
    "gpt2",
    "t5_encoder",
    "wav2vec2",
    "wavlm",
    "vit",
    "dinov2",
    "segformer",
    "mobilevit",
    "superpoint",
    "clip_vision",
]


@dataclass(frozen=True, slots=True)
class Network:
    """A module in eval mode and example inputs."""

    module: Any
    inputs: tuple[Any, ...]


def names() -> list[str]:
    """All architectures, as `library/name`."""
    groups = {
        "timm": TIMM,
        "torchvision": TORCHVISION,
        "segmentation": SEGMENTATION,
        "transformers": TRANSFORMERS,
    }
    return [f"{library}/{name}" for library, members in groups.items() for name in members]


def make(name: str) -> Network:
    """One architecture with random weights, seeded. Imports its library."""
    import torch

    torch.manual_seed(0)
    library, _, short = name.partition("/")
    return {"timm": _timm, "torchvision": _torchvision, "segmentation": _segmentation}.get(
        library, _transformers
    )(short)


def _image(size: int) -> tuple[Any, ...]:
    import torch

    return (torch.rand(1, 3, size, size),)


def _timm(name: str) -> Network:
    import timm

    timm.layers.set_fused_attn(True)
    model = timm.create_model(name, pretrained=False).eval()
    return Network(model, _image(model.default_cfg["input_size"][-1]))


def _torchvision(name: str) -> Network:
    import torchvision

    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **extra).eval()
    return Network(model, _image(224))


def _segmentation(name: str) -> Network:
    import torch
    import torchvision

    network = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None).eval()

    class Output(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network(x)["out"]

    return Network(Output().eval(), _image(128))


def _transformers(name: str) -> Network:
    from scripts.models.language import make_transformer

    return make_transformer(name)
