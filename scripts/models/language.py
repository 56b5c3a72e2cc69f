"""Transformers of the `transformers` library, made small: two layers, narrow, short inputs."""

from __future__ import annotations

from typing import Any

from scripts.models.architectures import Network

_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_WORDS = {"vocab_size": 200, "max_position_embeddings": 64}


def make_transformer(name: str) -> Network:
    """One small transformer whose forward takes and gives plain tensors."""
    import torch
    import transformers as t

    words = torch.randint(3, 190, (1, 16))
    image = torch.rand(1, 3, 64, 64)
    sound = torch.rand(1, 4000)
    text = _SMALL | _WORDS
    models: dict[str, tuple[Any, Any, dict[str, Any], Any]] = {
        "bert": (t.BertModel, t.BertConfig, text, words),
        "roberta": (t.RobertaModel, t.RobertaConfig, text, words),
        "mpnet": (t.MPNetModel, t.MPNetConfig, text, words),
        "distilbert": (
            t.DistilBertModel, t.DistilBertConfig,
            {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, **_WORDS}, words,
        ),
        "albert": (t.AlbertModel, t.AlbertConfig, text | {"embedding_size": 32}, words),
        "electra": (t.ElectraModel, t.ElectraConfig, text | {"embedding_size": 32}, words),
        "deberta_v2": (t.DebertaV2Model, t.DebertaV2Config, text, words),
        "gpt2": (
            t.GPT2Model, t.GPT2Config, {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 200}, words,
        ),
        "t5_encoder": (
            t.T5EncoderModel, t.T5Config,
            {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 200},
            words,
        ),
        "wav2vec2": (t.Wav2Vec2Model, t.Wav2Vec2Config, _SMALL, sound),
        "wavlm": (t.WavLMModel, t.WavLMConfig, _SMALL, sound),
        "vit": (t.ViTModel, t.ViTConfig, _SMALL | {"image_size": 64, "patch_size": 16}, image),
        "dinov2": (t.Dinov2Model, t.Dinov2Config, _SMALL | {"image_size": 64, "patch_size": 16}, image),
        "segformer": (t.SegformerModel, t.SegformerConfig, {}, image),
        "mobilevit": (t.MobileViTModel, t.MobileViTConfig, {"image_size": 64}, image),
        "superpoint": (t.SuperPointForKeypointDetection, t.SuperPointConfig, {}, image),
        "clip_vision": (
            t.CLIPVisionModel, t.CLIPVisionConfig, _SMALL | {"image_size": 64, "patch_size": 16}, image,
        ),
    }  # fmt: skip
    kind, config, settings, inputs = models[name]
    model = kind(config(**settings)).eval()

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(x, return_dict=False)[0]

    return Network(Plain().eval(), (inputs,))
