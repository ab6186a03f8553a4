"""What a run shows and when it is validated or over; silent in all processes but the first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from synthnet.text import clock, counted
from synthnet.training.settings import Span
from synthnet.training.state import RunState
from synthnet.training.tasks import Task


class Monitor:
    """Follows a run to the end of its span, resumed parts included.

    Args:
        every: between validations.
        epoch_samples: samples of an epoch.
        stop_now: whether to stop and save, given the seconds that the longest validation took until now.
        say: gets a line at the beginning, and one for each validation.
    """

    def __init__(
        self,
        task: Task,
        run: RunState,
        span: Span,
        every: Span,
        epoch_samples: int,
        stop_now: Callable[[float], bool],
        say: Callable[[str], None],
    ) -> None:
        self.task, self.run, self.span, self.every = task, run, span, every
        self.stop_now, self.say = stop_now, say
        self.steps_an_epoch = max(1, round(epoch_samples / (run.training.n_predicted * run.slices_per_step)))
        self.times_due = int(self.passed(every))
        self.first: tuple[float, int, float] | None = None  # time, samples and share done at the first report
        self.longest_s = 0.0  # of a validation
        self.bar = tqdm(
            total=100,
            bar_format="{percentage:3.0f}%|{bar}| {desc}",
            mininterval=0.3 if sys.stderr.isatty() else 20.0,
            file=sys.stderr,
            dynamic_ncols=True,
            disable=run.rank > 0,
        )
        n_parameters = sum(parameter.numel() for parameter in run.learner.network.parameters())
        length = counted(span.minutes, "minute") if span.minutes else f"{span.in_steps(self.steps_an_epoch)} steps"
        named = f"{run.begin.config.model}, {n_parameters:,} parameters"
        say(f"{named}, for {length} ({self.steps_an_epoch} steps an epoch); {task.remark}")

    def passed(self, span: Span) -> float:
        """How often so long has passed."""
        return span.share(self.run.step, self.run.elapsed_s, self.steps_an_epoch)

    @property
    def share_done(self) -> float:
        """The share of the span that is over, 1 or more at its end."""
        return self.passed(self.span)

    def show(self, loss: float, error: float) -> None:
        """Move the bar, with the loss in nats and the audio's part of it, means of the last 200 steps."""
        now = time.monotonic(), self.run.samples, self.share_done
        words = [f"step {self.run.step}", f"loss {loss:.3f}"]
        if self.task.floor_nats:
            words.append(f"{error - self.task.floor_nats:+.3f} over the floor")
        if self.first:
            passed_s, samples, share = (new - old for old, new in zip(self.first, now, strict=True))
            left_s = passed_s * (1 - self.share_done) / max(share, 1e-9)
            words += [f"{samples / max(passed_s, 1e-9):,.0f} samples/s", f"{clock(left_s)} left"]
        self.first = self.first or now  # the first step, which is slower than the rest, is not timed
        self.bar.set_description_str(", ".join(words), refresh=False)
        self.bar.update(100 * self.share_done - self.bar.n)

    def is_due(self) -> bool:
        """Whether to validate after the step that was just taken."""
        before, self.times_due = self.times_due, int(self.passed(self.every))
        return self.times_due > before

    def validate(self) -> dict[str, float]:
        """The task's figures of the averaged network, and how long training waited for them."""
        begun, network = time.monotonic(), self.run.learner.average
        network.eval()
        figures, line = self.task.validate(network)
        network.train()
        self.bar.clear()
        self.say(f"step {self.run.step}: {line}")
        took_s = time.monotonic() - begun
        self.longest_s = max(self.longest_s, took_s)
        return {**figures, "evaluation_s": took_s}
