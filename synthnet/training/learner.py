"""A network that learns: its weights, their running average, and the optimisers that change them."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from synthnet.files import InputError
from synthnet.models import Model, build_model
from synthnet.models.checkpoint import Checkpoint, arrays_of
from synthnet.training.muon import Muon
from synthnet.training.settings import TrainingConfig, annealed

EMA_EVERY_STEPS = 5


class Learner:
    """Follows gradients. Adam trains all weights, or those that are not matrices, with Muon for the rest.

    Args:
        begin: config of the network, and weights to begin with, by name; the others are fresh.

    Raises:
        InputError: weights to begin with that do not fit, as those of a piano do not fit a bell's partials.
    """

    def __init__(self, begin: Checkpoint, training: TrainingConfig, device: torch.device) -> None:
        self.training = training
        torch.manual_seed(training.seed)
        self.network: Model = build_model(begin.config).to(device)
        present = self.network.state_dict()
        for name, value in begin.weights.items():
            if name not in present or present[name].shape != value.shape:
                raise InputError(f"the network to start from does not fit these corpora: {name} of shape {value.shape}")
            present[name].copy_(torch.from_numpy(value))
        self.average = copy.deepcopy(self.network) if training.ema_decay else self.network
        self.modules: dict[str, nn.Module] = {"network": self.network}  # that are saved
        if training.ema_decay:
            self.modules["average"] = self.average
        matrices = self.network.matrices() if training.muon else []
        chosen = set(matrices)
        rest = [parameter for parameter in self.network.parameters() if parameter not in chosen]
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(rest, training.learning_rate, weight_decay=training.weight_decay, fused=True)
        }
        if matrices:
            self.optimisers["muon"] = Muon(matrices, training.learning_rate, training.matrix_decay)

    def follow(self, loss: Tensor, step: int, elapsed_s: float) -> None:
        """Take the step that comes after `step` steps and `elapsed_s` seconds, down the gradient of a loss."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = annealed(self.training, step, elapsed_s)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.average_weights(step)

    @torch.no_grad()
    def average_weights(self, step: int) -> None:
        """After a step, let the average follow the weights, if it is due."""
        if self.training.ema_decay and (step + 1) % EMA_EVERY_STEPS == 0:
            updates = (step + 1) // EMA_EVERY_STEPS
            decay = min(self.training.ema_decay, (1 + updates) / (10 + updates))  # follows closely at first
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that a resumed run needs, by name."""
        tensors: dict[str, Tensor] = {}
        for part, module in self.modules.items():
            tensors |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
        for part, optimiser in self.optimisers.items():
            for number, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{part}.{number}.{name}": value for name, value in moments.items()}
        return arrays_of(tensors)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from what `arrays` gave; KeyError, ValueError or RuntimeError if it is of another network."""
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for whole, value in arrays.items():
            part, _, name = whole.partition(".")
            parts[part][name] = torch.from_numpy(value)
        for part, module in self.modules.items():
            module.load_state_dict(parts[part])
        for part, optimiser in self.optimisers.items():
            moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
            for whole, tensor in parts[part].items():
                number, name = whole.split(".")
                moments[int(number)][name] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": dict(moments)})
