"""The errors and warnings that a user may want to catch.

ValueError
├── CertificationError          no loss can be certified
├── ConversionError             a committee cannot become an ONNX file
│   ├── UnconvertibleMemberError   one member cannot
│   └── OnnxMismatchError          the file answers differently
├── InfeasibleConstraintError   no committee satisfies what was asked of it
├── InvalidProbabilitiesError   a member's answer is not a matrix of probabilities
├── MemberFailedError           a member raised while it was asked
└── OnnxModelError              an ONNX model cannot be used

UserWarning
├── StageFailedWarning          a stage failed and earlier answers were kept
├── AllAbstainedWarning         rows on which every member abstained
├── UnseenClassWarning          a stage can never answer, nor defer on, some class
├── IgnoredWeightsWarning       a member was fitted without the sample weights
├── ScoreNotReachedWarning       no thresholds reach the score of the best member
├── NotCertifiedWarning         no loss could be certified
├── FewSamplesWarning              few rows reached a stage of an exported file
└── NoGainWarning               an exported cascade does not pay for single rows
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "AllAbstainedWarning",
    "CertificationError",
    "ConversionError",
    "FewSamplesWarning",
    "IgnoredWeightsWarning",
    "InfeasibleConstraintError",
    "InvalidProbabilitiesError",
    "MemberFailedError",
    "NoGainWarning",
    "NotCertifiedWarning",
    "OnnxMismatchError",
    "OnnxModelError",
    "ScoreNotReachedWarning",
    "StageFailedWarning",
    "UnconvertibleMemberError",
    "UnseenClassWarning",
]


class CertificationError(ValueError):
    """No loss can be certified at any thresholds, or not with these rows.

    Parameters
    ----------
    message : str
        Why, and what would help.
    report : CertificationReport
        What was found; its thresholds never exit.

    Attributes
    ----------
    report : CertificationReport
        What was found; its thresholds never exit.
    """

    def __init__(self, message: str, report) -> None:
        super().__init__(message, report)
        self.message = message
        self.report = report

    def __str__(self) -> str:
        return self.message


class ConversionError(ValueError):
    """A committee cannot be turned into an ONNX file, or not with these rows."""


class UnconvertibleMemberError(ConversionError):
    """One member of a committee cannot be turned into an ONNX graph.

    Where another package refused, ``__cause__`` is its error.

    Parameters
    ----------
    member : str
        Name of the member.
    stage : int
        Its position, counted from 0.
    kind : str
        Name of its class.
    problem : str
        What is wrong, and what would help.

    Attributes
    ----------
    member : str
        Name of the member.
    stage : int
        Its position, counted from 0.
    """

    def __init__(self, member: str, stage: int, kind: str, problem: str) -> None:
        super().__init__(member, stage, kind, problem)
        self.member = member
        self.stage = stage
        self.kind = kind
        self.problem = problem

    def __str__(self) -> str:
        who = f"stage {self.stage} {self.member!r} ({self.kind})"
        return f"{who} cannot be exported: {self.problem}"


class OnnxMismatchError(ConversionError):
    """An exported file answers some rows differently, so it was not handed over.

    Parameters
    ----------
    problems : list of str
        What differs, where, and what would help.
    report : ExportReport
        All figures of the comparison.

    Attributes
    ----------
    problems : list of str
        What differs, where, and what would help.
    report : ExportReport
        All figures of the comparison; prints as text.
    """

    def __init__(self, problems: list[str], report) -> None:
        super().__init__(problems, report)
        self.problems = problems
        self.report = report

    def __str__(self) -> str:
        return "the file differs from the model on these rows: " + "; ".join(self.problems)


class InfeasibleConstraintError(ValueError):
    """No committee that was looked at satisfies the constraints.

    Parameters
    ----------
    constraints : dict from str to float
        What was asked for.
    nearest : list of str
        What comes nearest, in words.

    Attributes
    ----------
    constraints : dict from str to float
        What was asked for.
    nearest : list of str
        What comes nearest, in words.
    """

    def __init__(self, constraints: dict[str, float], nearest: list[str]) -> None:
        super().__init__(constraints, nearest)
        self.constraints = constraints
        self.nearest = nearest

    def __str__(self) -> str:
        asked = ", ".join(f"{name}={value:.6g}" for name, value in self.constraints.items())
        return f"no committee reaches {asked}; " + "; ".join(self.nearest)


class InvalidProbabilitiesError(ValueError):
    """A member's answer is not a matrix of class probabilities.

    Parameters
    ----------
    member : str
        Name of the member.
    problem : str
        What is wrong with its answer, and what is accepted.

    Attributes
    ----------
    member : str
        Name of the member.
    """

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(member, problem)
        self.member = member
        self.problem = problem

    def __str__(self) -> str:
        return f"predict_proba of {self.member!r} {self.problem}"


class MemberFailedError(ValueError):
    """A member raised while it was asked for probabilities; ``__cause__`` is its own error.

    Parameters
    ----------
    member : str
        Name of the member.
    stage : int
        Its position, counted from 0.
    kind : str
        Name of its class.
    cause : str
        Text of its own error.

    Attributes
    ----------
    member : str
        Name of the member.
    stage : int
        Its position, counted from 0.
    """

    def __init__(self, member: str, stage: int, kind: str, cause: str) -> None:
        super().__init__(member, stage, kind, cause)
        self.member = member
        self.stage = stage
        self.kind = kind
        self.cause = cause

    def __str__(self) -> str:
        return f"stage {self.stage} {self.member!r} ({self.kind}) failed to predict: {self.cause}"


class OnnxModelError(ValueError):
    """An ONNX model cannot be used, or cannot take the rows it was given.

    Parameters
    ----------
    model : str
        The model's path, or how many bytes it has.
    problem : str
        What is wrong.

    Attributes
    ----------
    model : str
        The model's path, or how many bytes it has.
    """

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return f"model={self.model}: {self.problem}"


class StageFailedWarning(UserWarning):
    """A stage failed, and the rows that had reached it kept the answer of the stages before.

    Parameters
    ----------
    stage : int
        The stage that failed, counted from 0.
    rows : ndarray of shape (n_rows,)
        Positions in X of the rows concerned.
    cause : str
        Text of the stage's error.

    Attributes
    ----------
    stage : int
        The stage that failed, counted from 0.
    rows : ndarray of shape (n_rows,)
        Positions in X of the rows concerned.
    """

    def __init__(self, stage: int, rows: np.ndarray, cause: str) -> None:
        super().__init__(stage, rows, cause)
        self.stage = stage
        self.rows = rows
        self.cause = cause

    def __str__(self) -> str:
        shown = ", ".join(str(row) for row in self.rows[:5])
        more = ", ..." if len(self.rows) > 5 else ""
        return (
            f"stage {self.stage} failed, so {len(self.rows)} rows ({shown}{more}) keep the answer "
            f"of the stages before it: {self.cause}"
        )


class AllAbstainedWarning(UserWarning):
    """Every member abstained on some rows, which were answered by the training class shares."""


class UnseenClassWarning(UserWarning):
    """A stage before the last has never seen some class, so it cannot know when to defer on it."""


class IgnoredWeightsWarning(UserWarning):
    """A member's ``fit`` takes no ``sample_weight``, so it was fitted without."""


class ScoreNotReachedWarning(UserWarning):
    """With the combination asked for, no thresholds reach the score of the best member."""


class FewSamplesWarning(UserWarning):
    """Too few of the rows given to an export reached some stage to say that it is right there."""


class NoGainWarning(UserWarning):
    """An exported cascade is no faster for single rows than its dearest member alone."""


class NotCertifiedWarning(UserWarning):
    """No loss could be certified, so the thresholds reported never exit."""
