"""Effective weights: what is read of a projection is what it applies, and no more of it is held than a layer needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import corrupted_run, distance, llama_config, make_model, pairs, qwen2_config
from support.kept_weights import ADAPTED, KINDS, WIDE, calm, kept_subject, load_kind, near, with_lora
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.errors import UnsupportedModel
from edgewise.models import weights
from edgewise.models.identity import weights_hash
from edgewise.models.weights import KEPT, effective

every_kind = pytest.mark.parametrize("kind", KINDS)


def projections(on: ew.Subject) -> list[Any]:
    return [module for block in on.blocks for module in (*block.projections.modules, block.output)]


def inputs(on: ew.Subject, module: Any, rows: int = 12) -> torch.Tensor:
    width = effective(module).weight.shape[1]
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).to(on.dtype)


# -- what is read -----------------------------------------------------------------------------------------------------


@every_kind
def test_the_matrix_is_what_the_module_applies_when_nobody_minds_it(kind: str) -> None:
    on = load_kind(KINDS[kind](), kind)
    # The kernel of 8 bits rounds what it reads too, which edgewise leaves out.
    allowed = 0.03 if kind == "bitsandbytes-8" else near(kind)
    for module in projections(on):
        x, (weight, bias) = inputs(on, module), effective(module)
        ours = x @ weight.to(on.dtype).T + (0 if bias is None else bias)
        with calm():
            native = module(x.requires_grad_())  # with a gradient, so that nothing is packed
        assert distance(native.detach(), ours.detach()) < allowed


@pytest.mark.parametrize("kind", ADAPTED)
def test_an_adapter_changes_the_matrix(kind: str) -> None:
    on = kept_subject(kind)
    changed = [module for module in projections(on) if hasattr(module, "base_layer")]
    assert changed
    for module in changed:
        base, own = effective(module.base_layer), effective(module)
        assert distance(own.weight, base.weight) > 0.1
        assert bool(kind == "lora-conv1d") == (own.bias is not None and distance(own.bias, base.bias) > 0.01)  # type: ignore[arg-type]


def test_what_is_read_follows_the_switches() -> None:
    model = KINDS["two-adapters"]()
    on = load_kind(model, "two-adapters")
    module, of = on.blocks[1].output, pairs()
    both, base = effective(module).weight, effective(module.base_layer).weight  # type: ignore[arg-type]
    model.base_model.set_adapter("more")  # type: ignore[operator, union-attr]
    one = effective(module).weight
    assert distance(one, both) > 0.1 < distance(one, base)
    with model.disable_adapter():  # type: ignore[operator]
        assert torch.equal(effective(module).weight, base)
        walked = masked_forward(on, of.clean, of.positions, on.graph.edge_mask.float(), corrupted_run(on, of))
        assert distance(walked, on.logits(of.clean, of.positions)) < near("lora")
    model.merge_adapter()  # type: ignore[operator]
    assert distance(effective(module).weight, one) < near("lora")


def test_a_layer_that_was_trained_as_a_whole_stands_for_the_old_one() -> None:
    model = with_lora(make_model(qwen2_config()), ["v_proj"], modules_to_save=["q_proj", "lm_head"])
    for path, part in model.base_model.model.named_modules():
        if path.endswith("q_proj"):
            part.modules_to_save["default"].weight.data += 0.5
    on, of = load_kind(model, "lora"), pairs()
    walked = masked_forward(on, of.clean, of.positions, on.graph.edge_mask.float(), corrupted_run(on, of))
    assert distance(walked, on.logits(of.clean, of.positions)) < near("lora")
    wrapper = on.blocks[0].projections.modules[0]
    assert distance(effective(wrapper).weight, wrapper.original_module.weight) > 0.1  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize("permuted", [False, True])
def test_blocks_of_a_gguf_file(permuted: bool) -> None:
    gguf = pytest.importorskip("gguf")
    utils = pytest.importorskip("transformers.integrations.gguf.utils")
    drawn = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    kind = gguf.GGMLQuantizationType.Q8_0
    layer = utils.GgufLinear(64, 16, int(kind))
    layer.weight.data = torch.from_numpy(gguf.quants.quantize(drawn.numpy(), kind))
    if permuted:
        layer.input_permutation = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    x = torch.randn(12, 64, generator=torch.Generator().manual_seed(2))
    matrix = effective(layer)
    assert distance(x @ matrix.weight.T, layer(x)) < 1e-5
    restored = matrix.weight if not permuted else matrix.weight[:, layer.input_permutation]
    assert distance(restored, drawn) < 0.02


# -- from a folder ----------------------------------------------------------------------------------------------------


def quantised_folder(folder: Path, how: str) -> Path:
    """A checkpoint whose weights are in few bits, as transformers writes one."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TorchAoConfig

    make_model(llama_config(**WIDE)).save_pretrained(folder / "plain")
    with calm():
        from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig

        config: Any = {
            "torchao-int8": lambda: TorchAoConfig(Int8WeightOnlyConfig()),
            "torchao-int4": lambda: TorchAoConfig(IntxWeightOnlyConfig(weight_dtype=torch.int4)),
            "bitsandbytes-8": lambda: BitsAndBytesConfig(load_in_8bit=True),
            "bitsandbytes-4": lambda: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
        }[how]()
        model = AutoModelForCausalLM.from_pretrained(folder / "plain", quantization_config=config)
        model.save_pretrained(folder / how)
    return folder / how


@pytest.mark.parametrize(
    ("how", "library"),
    [
        ("torchao-int8", "torchao"),
        ("torchao-int4", "torchao"),
        ("bitsandbytes-8", "bitsandbytes"),
        ("bitsandbytes-4", "bitsandbytes"),
    ],
)
def test_a_checkpoint_in_few_bits_is_loaded_by_its_folder(how: str, library: str, tmp_path: Path) -> None:
    folder, of = quantised_folder(tmp_path, how), pairs()
    with calm():
        on, plain = ew.load(folder), ew.load(tmp_path / "plain")
    assert on.graph == plain.graph
    assert on.identity["quantised"].startswith(library)
    assert on.identity["weights"] != plain.identity["weights"]
    matrix = effective(on.blocks[0].output).weight
    own = effective(plain.blocks[0].output).weight
    assert 0 < distance(matrix, own) < (0.02 if "8" in how else 0.2)
    logits = on.logits(of.clean, of.positions)
    walked = masked_forward(on, of.clean, of.positions, on.graph.edge_mask.float(), corrupted_run(on, of))
    assert distance(walked, logits) < near("lora")


# -- what is refused --------------------------------------------------------------------------------------------------


class HQQLinear(nn.Module):
    """Stands for the layers of libraries that keep their weights in ways nobody here knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_unknown_layers_are_refused_by_their_class() -> None:
    model: Any = make_model(llama_config())
    model.model.layers[1].self_attn.o_proj = HQQLinear()
    with pytest.raises(
        UnsupportedModel, match=r"HQQLinear \(.*\) is not a linear layer that edgewise can read; it reads"
    ):
        ew.load(model)


def test_rounded_activations_are_refused_by_name() -> None:
    with calm():
        from torchao import quantization

        model = make_model(llama_config(**WIDE))
        quantization.quantize_(model, quantization.Int8DynamicActivationInt8WeightConfig())
        with pytest.raises(UnsupportedModel, match=r"Int8Tensor of torchao also rounds its inputs .act_quant_kwargs"):
            ew.load(model)


def test_packed_weights_are_refused_with_the_cure() -> None:
    model: Any = KINDS["bitsandbytes-4"]()
    model.model.layers[2].self_attn.k_proj.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(UnsupportedModel, match=r"packed the 4-bit weights for inference.*let edgewise be the first"):
        ew.load(model)


def test_other_adapters_of_low_rank_are_refused_by_name() -> None:
    model = with_lora(make_model(llama_config()), ["q_proj"], alora_invocation_tokens=[3])
    with pytest.raises(UnsupportedModel, match="ALoraLinearVariant of peft; only LoRA and DoRA are supported"):
        ew.load(model, adapter="active")


# -- what is held -----------------------------------------------------------------------------------------------------

DEEP = 6
SLOW: dict[str, dict[str, Any]] = {
    "eap": {},
    "eap-ig": {"steps": 2},
    "relp": {},
    "exact": {},
}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many matrices are alive each time one is made."""
    made: list[StorageWeakRef] = []
    alive: list[int] = []
    native = weights.read

    def read(module: nn.Module) -> weights.Matrix:
        matrix = native(module)
        made.append(StorageWeakRef(matrix.weight.untyped_storage()))
        alive.append(sum(not one.expired() for one in made))
        return matrix

    monkeypatch.setattr(weights, "read", read)
    return alive


def deep() -> ew.Subject:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return load_kind(with_lora(make_model(llama_config(num_hidden_layers=DEEP)), targets), "lora")


@pytest.mark.parametrize("method", SLOW)
def test_no_method_holds_the_matrices_of_more_than_a_layer(method: str, counted: list[int]) -> None:
    ew.attribute(deep(), pairs(), method=method, **SLOW[method])
    assert max(counted) <= KEPT + 1 < 4 * DEEP


def test_nor_do_searches_and_training(counted: list[int]) -> None:
    on = deep()
    ew.discover(on, pairs(), method="acdc", tau=0.5)
    ew.evaluate(on, ew.Circuit.full(on.graph), pairs())
    ew.discover(on, pairs(), method="edge-pruning", edges=60, steps=3)
    assert max(counted) <= KEPT + 1


def test_a_walk_makes_each_matrix_once(counted: list[int]) -> None:
    on, of = deep(), pairs()
    replacement = corrupted_run(on, of)
    counted.clear()
    masked_forward(on, of.clean, of.positions, on.graph.edge_mask.float(), replacement)
    assert len(counted) == 4 * DEEP


def test_exact_makes_few_more_than_it_visits_layers(counted: list[int]) -> None:
    on = deep()
    counted.clear()
    ew.attribute(on, pairs(), method="exact")
    # Of each of some hundred readers several chunks of writers are tried.
    assert len(counted) < 10 * 4 * DEEP


# -- no trace ---------------------------------------------------------------------------------------------------------


def instance(model: nn.Module) -> dict[str, list[str]]:
    return {path: sorted(vars(part)) for path, part in model.named_modules()}


@every_kind
def test_nothing_is_left_in_the_model(kind: str) -> None:
    model = KINDS[kind]()
    on = load_kind(model, kind)
    before, flags = weights_hash(on.model), instance(model)
    switches = [getattr(part, "support_avx512bf16_for_cpu", None) for part in model.modules()]
    ew.attribute(on, pairs(), method="eap")
    on.logits(pairs().clean, pairs().positions)
    assert weights_hash(on.model) == before
    assert instance(model) == flags
    assert [getattr(part, "support_avx512bf16_for_cpu", None) for part in model.modules()] == switches


def test_a_failure_leaves_nothing_either() -> None:
    model = KINDS["bitsandbytes-8"]()
    on, flags = load_kind(model, "bitsandbytes-8"), instance(model)
    with pytest.raises(ew.EdgewiseError):
        on.logits(pairs().clean + 1000, pairs().positions)
    broken: Callable[..., Any] = lambda *args: 1 / 0  # noqa: E731
    handle = on.blocks[2].module.register_forward_hook(broken)
    with pytest.raises(ZeroDivisionError):
        on.logits(pairs().clean, pairs().positions)
    handle.remove()
    assert instance(model) == flags


# -- k and v for every head -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lora", "dora", "torchao-int8", "bitsandbytes-8", "bitsandbytes-4", "subclass"])
def test_ungrouped_rows_are_those_that_are_applied(kind: str) -> None:
    model = KINDS[kind]()
    on, of = load_kind(model, kind), pairs()
    apart = load_kind(model, kind, kv="ungrouped")
    assert distance(apart.logits(of.clean, of.positions), on.logits(of.clean, of.positions)) < near(kind)
    shared, own = ew.attribute(on, of, method="eap").values, ew.attribute(apart, of, method="eap").values
    graph, times = on.graph, on.graph.heads // on.graph.kv_heads
    for layer in range(graph.layers):
        few, many = graph.v_readers(layer), apart.graph.v_readers(layer)
        summed = own[:, many].unflatten(1, (-1, times)).sum(dim=-1)
        assert distance(summed, shared[:, few]) < 10 * near(kind)
