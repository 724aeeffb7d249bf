"""The choices handler: what Inductor asks while a compile is covered, answered from plans."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .._core import GemmConfig, GemmProblem
from ..records import Record
from ..sources import kernel_id
from ..tuning import present_versions
from . import _compat, _compat_choices
from .learning import Offer, Race, records_of
from .plan import Plan, is_own, why_unbuilt
from .session import Options, Session, Target

log = logging.getLogger("gemm_tuner")

_NOTE = "gemm_tuner"  # under which a choice of Inductor's carries what we know of it


class Tuned:
    """Mixed in over the class of whatever handler is in place, which answers everything else.

    One lives as long as one graph compiles, in one thread.
    """

    session: Session
    aim: Target
    user_wants_autotuning: bool
    _base: Any
    _plans: dict[tuple[Any, GemmProblem], tuple[Plan, Race]]

    # Which candidates

    def _finalize_template_configs(
        self, template_choices: Any, kernel_inputs: Any, templates: Any, op_name: str, kwarg_overrides: Any = None
    ) -> list[Any]:
        parent: Any = super()

        def stock(offered: Any) -> list[Any]:
            return list(parent._finalize_template_configs(offered, kernel_inputs, templates, op_name, kwarg_overrides))

        def anew() -> dict[str, Any]:  # what we were given may be half used up
            overrides = kwarg_overrides or {}
            return {
                each.uid: parent.get_ktc(kernel_inputs, each, op_name, overrides.get(each.uid, {}))
                for each in templates
            }

        try:
            asked = _compat.asked(kernel_inputs, op_name)
            if isinstance(asked, str):
                self.session.leave(f"{asked}: as stock Inductor has it")
                return stock(self._as_without_us(template_choices))
            offers = self._offers(asked, template_choices, kernel_inputs)
            return stock(anew()) if offers is None else offers
        except Exception as error:  # noqa: BLE001 - a torch that we do not know must not cost anybody a compile
            _step_aside(error)
            return stock(self._as_without_us(anew()))

    def _offers(self, asked: _compat.Asked, template_choices: dict[str, Any], kernel_inputs: Any) -> list[Any] | None:
        """ATen's choices and ours, in the place of the stock list, each with a note of what it is. None where only
        ATen is to stay, and the user does not let Inductor use it."""
        library: list[Any] = []
        base: Any = None
        for uid, generator in template_choices.items():
            if uid in _compat.TEMPLATES:
                base = next(iter(generator), None)
            elif _compat.is_library_uid(uid):
                library += list(generator)
        if base is None and asked.problem.op == "mm" and ("decompose_k" in template_choices or _compat.not_served()):
            base = _compat.omitted_base(self, kernel_inputs)
        computed = asked.problem if base is None else _compat.computed(asked.problem, base)
        plan, race = self._plan(asked, computed, kernel_inputs)
        if not plan.configs and not _compat.library_is_allowed():
            self.session.leave(f"{asked.problem}: max_autotune_gemm_backends has no ATEN, which is to stay")
            return None
        offers = [_noted(choice, Offer(asked.problem, None, choice.template.uid), race, plan) for choice in library]
        if base is not None and plan.configs:
            made = {config: self._made(asked.problem, config, base, kernel_inputs) for config in plan.configs}
            offers += [
                _noted(choice, Offer(asked.problem, config, kernel), race, plan)
                for config, (choice, kernel) in made.items()
                if choice is not None
            ]
        return offers

    def _made(self, problem: GemmProblem, config: GemmConfig, base: Any, kernel_inputs: Any) -> tuple[Any, str]:
        """Inductor's choice for the config, and the id of its kernel. No choice where it cannot be made."""
        if is_own(config):
            unbuilt = why_unbuilt(problem, config, self.aim.device)
            if unbuilt is not None:
                self.session.say(f"{problem}: {config} is not offered: {unbuilt}")
                return None, ""
            return _compat_choices.choice_of(base, config), kernel_id(config.family)
        unknown = _compat.unknown_parameters(base)
        if unknown:
            self.session.leave(f"{base.template.name} has parameters {', '.join(unknown)}: ATen is kept")
            return None, ""
        _, _, k = kernel_inputs.mnk_symbolic()
        return _compat.choice_with(base, config, k), _compat.template_id(base.template)

    def _plan(self, asked: _compat.Asked, computed: GemmProblem, kernel_inputs: Any) -> tuple[Plan, Race]:
        """One plan for one product, however often the hook is called for it."""
        key = (_compat.product(), asked.problem)
        if key not in self._plans:
            followed_by = _compat.followers()
            plan = self.session.decide(
                asked.problem,
                self.aim,
                computed=computed,
                widest_alignment=asked.widest_alignment,
                kernels=_compat.template_ids(),
                followed_by=followed_by,
                is_fusable=_compat.is_fusable(),
                is_hint=asked.is_hint,
                why_not_own=_compat_choices.why_not(kernel_inputs, asked.problem.op, is_hint=asked.is_hint),
            )
            race = Race(asked.problem, followed_by, self.session.padded_from(asked.problem))
            self._plans[key] = (plan, race)
        return self._plans[key]

    def _as_without_us(self, template_choices: dict[str, Any]) -> dict[str, Any]:
        """What stock Inductor would be choosing from: behind its own gate, if that is closed, there is only ATen."""
        if self.user_wants_autotuning and self._stock_gate_is_open():
            return template_choices
        return {uid: each for uid, each in template_choices.items() if _compat.is_library_uid(uid)}

    # The gate, fusion, padding

    def opens_gate(self) -> bool:
        """Every product may come: what is not fit for its device is kept from it by its plan. What else stands behind
        the gate stays where it was: convolutions and grouped products are not what we tune."""
        other = _compat.not_served()
        if other is None:
            return True
        if self.user_wants_autotuning and self._stock_gate_is_open():
            return True
        self.session.leave(f"{other}: not tuned, as stock Inductor has it")
        return False

    def _stock_gate_is_open(self) -> bool:
        return self.aim.device.sm_count >= _compat.STOCK_GATE_SMS

    def can_fuse(self, scheduler: Any, node1: Any, node2: Any, shared_data_score: int) -> bool:
        """Keeps alone what was measured to be faster alone."""
        if _compat.keeps_unfused(node1) or _compat.keeps_unfused(node2):
            return False
        parent: Any = super()
        return bool(parent.can_fuse(scheduler, node1, node2, shared_data_score))

    def pads(self, mat1: torch.Tensor, mat2: torch.Tensor, op: Any, stock: Callable[[], bool]) -> bool:
        """Is a product to be padded to aligned sizes?"""
        found = _compat.padding(mat1, mat2, op)
        if found is None:
            return stock()
        answer = self.session.decide_padding(found.problem, found.padded, self.aim, _compat.template_ids())
        if answer is None:
            answer = stock()
            if answer:
                self.session.note_padded(found.problem, found.padded)
        return answer

    # What was chosen

    def narrow(self, choices: list[Any]) -> list[Any]:
        """The union of what all calls for one product offered: what its plan settled, or all of it, watched."""
        noted = [(choice, *choice.annotations[_NOTE]) for choice in choices if _NOTE in choice.annotations]
        if not noted:
            return choices
        plan: Plan = noted[0][3]
        if plan.is_settled:
            kept = self._settled([(choice, offer) for choice, offer, _, _ in noted], plan)
        else:
            # a Triton choice without a note was put in behind the hook's back, and each costs a compile
            kept = [choice for choice in choices if _NOTE in choice.annotations or not _compat.is_triton(choice)]
        for choice in kept:
            if _NOTE in choice.annotations:
                offer, race, _ = choice.annotations[_NOTE]
                _compat.watch(
                    choice, functools.partial(race.choose, offer), keeps_unfused=self._keeps_unfused(plan, race)
                )
                _compat.mark_cache_key(choice, f"{offer.kernel}-sms={self.aim.device.available_sms}")
        return kept

    def _settled(self, noted: list[tuple[Any, Offer]], plan: Plan) -> list[Any]:
        wanted = plan.configs[0] if plan.configs else None
        named = plan.record.kernel if plan.record else ""
        matching = [(choice, offer) for choice, offer in noted if offer.config == wanted]
        if not matching:
            self.session.leave(f"{noted[0][1].problem}: Inductor cannot make {wanted}; ATen is kept")
            matching = [(choice, offer) for choice, offer in noted if offer.config is None]
        # ATen has two kernels for addmm: the one that was measured, else the first, else whatever there is
        exact = [choice for choice, offer in matching if offer.kernel == named]
        return (exact or [choice for choice, _ in matching] or [choice for choice, _ in noted])[:1]

    def _keeps_unfused(self, plan: Plan, race: Race) -> bool:
        return plan.keeps_unfused and plan.record is not None and plan.record.followed_by == race.followed_by

    def measured(self, timings: dict[Any, float]) -> None:
        """Inductor's benchmark of one product."""
        for choice, time_ms in timings.items():
            if _NOTE in choice.annotations:
                offer, race, _ = choice.annotations[_NOTE]
                race.times_ms[offer] = time_ms

    def __reduce__(self) -> Any:
        return _restored, (self.session.options, self.aim, self.user_wants_autotuning, self._base)


def _finish(session: Session, aim: Target, plans: dict[tuple[Any, GemmProblem], tuple[Plan, Race]]) -> None:
    """Keeps what a compile has measured, when it is over."""
    versions = present_versions(aim.device)
    learned: dict[tuple[GemmProblem, tuple[str, ...]], list[Record]] = {}
    for _, race in plans.values():  # a graph often has the same product many times
        records = records_of(race, aim.device, versions)
        if records:
            learned[race.problem, race.followed_by] = records
    plans.clear()
    if learned and aim.is_here:
        session.learn([each for records in learned.values() for each in records])


def _noted(choice: Any, offer: Offer, race: Race, plan: Plan) -> Any:
    choice.annotations[_NOTE] = (offer, race, plan)
    return choice


def tuned(session: Session, aim: Target, *, user_wants_autotuning: bool, base: Any) -> Any:
    """A handler that answers as `base` does, except for what we know better."""
    kind: Any = type("TunedChoices", (Tuned, type(base)), {})
    handler = object.__new__(kind)
    handler.__dict__.update(base.__dict__)
    handler.session = session
    handler.aim = aim
    handler.user_wants_autotuning = user_wants_autotuning
    handler._base = base
    handler._plans = {}
    return handler


def _restored(options: Options, aim: Target, user_wants_autotuning: bool, base: Any) -> Any:
    """A handler that came from another process, to compile there: it brings the hooks along, and never closes them.

    Nobody here knows when its compile is over, but that it is let go of then.
    """
    session = Session(options)
    handler = tuned(session, aim, user_wants_autotuning=user_wants_autotuning, base=base)
    _HOOKED.__enter__()
    weakref.finalize(handler, _finish, session, aim, handler._plans)
    return handler


@contextmanager
def covered(session: Session, aim: Target) -> Iterator[None]:
    """Compiles of the calling thread are tuned in the block; inside another one, that one goes on."""
    base = _compat.current_choices()
    if isinstance(base, Tuned):
        yield
        return
    asked = _compat.user_wants_autotuning()
    handler = tuned(session, aim, user_wants_autotuning=asked, base=base)
    with _HOOKED, _compat.covering(handler, f"gemm_tuner:{session.key(aim)}"):
        try:
            yield
        finally:
            _finish(session, aim, handler._plans)


def _handler() -> Any:
    found = _compat.current_choices()
    return found if isinstance(found, Tuned) else None


def _opens_gate(device: torch.device, stock: Callable[[], bool]) -> bool:
    handler = _handler()
    return stock() if handler is None or device.type != "cuda" else bool(handler.opens_gate())


def _pads(mat1: Any, mat2: Any, op: Any, stock: Callable[[], bool]) -> bool:
    handler = _handler()
    return stock() if handler is None or mat1.device.type != "cuda" else bool(handler.pads(mat1, mat2, op, stock))


def _narrow(choices: list[Any]) -> list[Any]:
    handler = _handler()
    return choices if handler is None else list(handler.narrow(choices))


def _measured(timings: dict[Any, float]) -> None:
    handler = _handler()
    if handler is not None:
        handler.measured(timings)


_HOOKED = _compat.installed(_compat.Hooks(_opens_gate, _pads, _narrow, _measured))
_said_aside: list[str] = []


def _step_aside(error: Exception) -> None:
    """One warning for all: this torch is not as we know it, and goes its own way."""
    if not _said_aside:
        _said_aside.append(str(error))
        log.warning(
            "torch %s is not as this version knows it, and compiles as without it: %r", torch.__version__, error
        )
