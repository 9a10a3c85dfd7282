"""The fused accumulation of evidence against its formula."""

import pytest
import torch

from mlvae import Groups
from mlvae.evidence import Evidence
from mlvae.evidence.rules import product
from mlvae.groups import Share
from mlvae.kernels.accumulation import accumulated, applies, worthwhile
from mlvae.posteriors import DiagonalGaussian


def test_it_equals_the_formula_in_values_gradients_and_second_gradients():
    torch.manual_seed(0)
    groups = Groups.of(torch.randint(5, (40,)))
    parameters = torch.randn(2, 40, 3, dtype=torch.float64).mul(3).requires_grad_()
    weights = torch.randn(2, groups.num_groups, 3, dtype=torch.float64)
    formula = product(DiagonalGaussian(*parameters), groups)
    fused = accumulated(parameters[1], parameters[0], groups.index, groups.num_groups)
    results = []
    for values in (torch.stack(fused), torch.stack((formula.log_variance, formula.mean))):
        loss = (values.sin() * weights).sum()
        (first,) = torch.autograd.grad(loss, parameters, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), parameters)
        results.append([values, first, second])
    torch.testing.assert_close(*results)
    assert results[0][2].any()


def test_gradients_agree_with_finite_differences():
    index = torch.tensor([0, 1, 0, 0, 1])
    values = [torch.randn(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *v: accumulated(*v, index, 2), values)
    assert torch.autograd.gradgradcheck(lambda *v: accumulated(*v, index, 2), values)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # raised by opcheck
def test_the_custom_operation_passes_opcheck():
    values = [torch.randn(5, 2, requires_grad=True) for _ in range(2)]
    torch.library.opcheck(accumulated, (*values, torch.tensor([0, 1, 0, 0, 1]), 2))


def test_it_is_for_compiled_models_on_cuda_devices(monkeypatch):
    assert not worthwhile(torch.zeros(10, 3), 2)
    assert not worthwhile(torch.empty(10, 3, device="meta"), 2)
    monkeypatch.setattr("mlvae.kernels.accumulation.worthwhile", lambda mean, num_groups: True)
    mean, groups = torch.zeros(3, 2), Groups.of([0, 1, 1])
    assert not applies(mean, 2)  # an eager model
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    assert applies(mean, 2)
    used = []
    monkeypatch.setattr(
        "mlvae.kernels.accumulation.accumulated",
        lambda *args: used.append(args) or accumulated(*args),
    )
    share = Share(groups, rank=0, rows=torch.arange(3), num_rows=3, first_group=0, whole_groups=2)
    evidence = Evidence(mean, mean)
    evidence.posterior_of(share)
    assert not used  # the sums of a share may be sums over ranks
    evidence.posterior_of(groups)
    assert used
