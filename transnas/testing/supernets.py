"""`SupernetContract`: what every supernet must do, as a pytest class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks import Form, Supernet
from transnas.networks.relaxations import Mix, Sampled, Softmax
from transnas.spaces import Architecture

__all__ = ["SupernetContract"]

MakeSupernet = Callable[[Form], Supernet]


class SupernetContract:
    """Properties of a `Supernet`. Subclasses override the fixture `make`.

    Nets are compared in float64 and training mode; `tolerance` is absolute.
    """

    tolerance = 1e-10
    architectures = 3
    """How many sampled architectures are compared with their discrete networks."""

    @pytest.fixture
    def make(self) -> MakeSupernet:
        """Return what builds a small supernet with `Softmax` in a form."""
        raise NotImplementedError("override the fixture `make`")

    @pytest.fixture
    def net(self, make: MakeSupernet) -> Supernet:
        """Return the supernet in its plain form, with logits of standard deviation 1."""
        return self.prepared(make, Form(backend="torch"))

    @staticmethod
    def prepared(make: MakeSupernet, form: Form) -> Supernet:
        """Return the supernet of a form in float64, equal weights for equal forms."""
        torch.manual_seed(0)
        net = make(form).double()
        assert isinstance(net.relaxation, Softmax)
        nn.init.normal_(net.logits, generator=torch.Generator().manual_seed(1))
        return net

    def samples(self, net: Supernet) -> list[Architecture]:
        """Return architectures to compare."""
        rng = np.random.default_rng(0)
        return [net.space.sample(rng) for _ in range(self.architectures)]

    @staticmethod
    def inputs(net: Supernet) -> Tensor:
        """Return a batch of four that fits the signature: images, or tokens."""
        generator = torch.Generator().manual_seed(2)
        size = (4, *net.signature.input_shape)
        if len(size) == 2:
            return torch.randint(net.signature.outputs, size, generator=generator)
        return torch.randn(size, generator=generator, dtype=torch.float64)

    @staticmethod
    def run(net: Callable[..., Tensor], *arguments: Tensor | Mix) -> Tensor:
        """Return the network's output; what it draws is equal in every call."""
        torch.manual_seed(3)
        return net(*arguments)

    def test_one_path_is_the_discrete_network(self, net: Supernet) -> None:
        x = self.inputs(net)
        for arch in self.samples(net):
            twin = net.twin(arch).train()
            mine, its = self.run(net, x, net.path(arch)), self.run(twin, x)
            torch.testing.assert_close(mine, its, rtol=0, atol=self.tolerance)

    def test_paths_only_spare_work(self, net: Supernet) -> None:
        x = self.inputs(net)
        for arch in self.samples(net)[:1]:
            path = net.path(arch)
            found, dense = self.run(net, x, path), self.run(net, x, Mix(path.weights))
            torch.testing.assert_close(found, dense, rtol=0, atol=self.tolerance)

    def test_derives_the_architecture_of_its_own_path(self, net: Supernet) -> None:
        for arch in self.samples(net):
            with torch.no_grad():
                net.logits.copy_(10.0 * net.path(arch).weights)
            assert net.derive() == arch

    def test_parameters_are_shared_weights_or_of_the_architecture(self, net: Supernet) -> None:
        shared = {id(p) for p in net.shared_weights()}
        architecture = {id(p) for p in net.architecture_parameters()}
        assert not shared & architecture
        assert shared | architecture == {id(p) for p in net.parameters()}
        assert id(net.logits) in architecture

    def test_mixtures_reach_every_weight_and_logit(self, net: Supernet) -> None:
        torch.autograd.backward(self.run(net, self.inputs(net)).square().sum())
        assert net.logits.grad is not None
        assert net.logits.grad.isfinite().all()
        there = ~net.missing & ((~net.missing).sum(dim=1, keepdim=True) > 1)
        assert float(net.logits.grad[~there].abs().sum()) == 0.0
        assert (net.logits.grad.abs() > 0)[there].float().mean() > 0.9
        for weight in net.shared_weights():
            assert weight.grad is not None
            assert weight.grad.isfinite().all()

    def test_samples_train_their_path_alone(self, make: MakeSupernet, net: Supernet) -> None:
        """A supernet of nothing but the path has every weight that is trained."""
        net.relaxation = Sampled(torch.Generator().manual_seed(0))
        mix = net.mix()
        assert mix.paths is not None
        torch.autograd.backward(self.run(net, self.inputs(net), mix).square().sum())
        assert net.logits.grad is None
        trained = {name for name, p in net.named_parameters() if p.grad is not None}
        alone = self.prepared(make, Form(allowed=mix.paths, backend="torch"))
        assert trained
        assert trained <= {name for name, _ in alone.named_parameters()}

    def test_operations_own_the_weights_that_their_paths_alone_train(self, net: Supernet) -> None:
        arch = self.samples(net)[0]
        chosen = set(enumerate(net.codes(arch)))
        torch.autograd.backward(self.run(net, self.inputs(net), net.path(arch)).square().sum())
        owners: dict[int, tuple[int, int]] = {}
        for row, codes in enumerate(net.allowed):
            for code in codes:
                weights = [p for m in net.operation(row, code).modules for p in m.parameters()]
                assert not owners.keys() & set(map(id, weights))
                owners |= dict.fromkeys(map(id, weights), (row, code))
                assert (row, code) in chosen or all(w.grad is None for w in weights)
        shared = {id(p) for p in net.shared_weights()}
        assert owners.keys() < shared

    def test_operations_that_are_not_allowed_have_no_share(
        self, make: MakeSupernet, net: Supernet
    ) -> None:
        arch = self.samples(net)[0]
        chosen = [
            there if code is None else (code,)
            for code, there in zip(net.codes(arch), net.allowed, strict=True)
        ]
        narrow = self.prepared(make, Form(allowed=tuple(chosen), backend="torch"))
        shares = narrow.mix().weights.detach()
        assert float(shares[narrow.missing].abs().sum()) == 0.0
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(shares)).double())
        assert sum(p.numel() for p in narrow.parameters()) <= sum(
            p.numel() for p in net.parameters()
        )
        assert self.run(narrow, self.inputs(net)).isfinite().all()
        with pytest.raises(InputError, match="allowed"):
            make(Form(allowed=((),) * len(chosen)))
        with pytest.raises(InputError, match="allowed has 1 rows"):
            make(Form(allowed=((0,),)))

    def test_checkpoints_change_nothing(self, make: MakeSupernet, net: Supernet) -> None:
        lean, x = self.prepared(make, Form(checkpoint=True, backend="torch")), self.inputs(net)
        outputs = [self.run(n, x) for n in (net, lean)]
        torch.testing.assert_close(*outputs, rtol=0, atol=0)
        for out in outputs:
            torch.manual_seed(3)
            torch.autograd.backward(out.square().sum())
        for one, two in zip(net.parameters(), lean.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-12)

    def test_logits_that_are_not_finite_are_refused(self, net: Supernet) -> None:
        nn.init.constant_(net.logits, float("nan"))
        with pytest.raises(InputError, match="not finite"):
            net.derive()

    def test_discrete_networks_leave_the_generator_alone(self, net: Supernet) -> None:
        before = torch.get_rng_state()
        net.discrete(self.samples(net)[0])
        assert torch.equal(torch.get_rng_state(), before)
