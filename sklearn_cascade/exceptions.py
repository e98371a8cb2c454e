"""The errors and warnings that a user may want to catch.

ValueError
├── CertificationError          no loss can be certified
├── ConversionError             a cascade or ensemble cannot become an ONNX file
│   ├── UnconvertibleMemberError   one member cannot
│   └── OnnxMismatchError          the file gives other outputs
├── InfeasibleConstraintError   no candidate satisfies the constraints
├── InvalidProbabilitiesError   a member's output is not a matrix of probabilities
├── MemberFailedError           a member raised while it was predicting
└── OnnxModelError              an ONNX model cannot be used

UserWarning
├── StageFailedWarning          a stage failed and earlier predictions were kept
├── AllAbstainedWarning         every member abstained on some rows
├── UnseenClassWarning          a stage can neither predict nor defer on some class
├── IgnoredWeightsWarning       a member was fitted without the sample weights
├── ScoreNotReachedWarning      no thresholds reach the score of the best member
├── NotCertifiedWarning         no loss could be certified
├── FewSamplesWarning           few rows reached a stage of an exported file
└── NoGainWarning               an exported cascade is no faster for single rows
"""

from __future__ import annotations

import typing

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
        What was found; its thresholds let no row exit.

    Attributes
    ----------
    report
        As the parameter.
    """

    def __init__(self, message: str, report: typing.Any) -> None:
        super().__init__(message, report)
        self.message = message
        self.report = report

    def __str__(self) -> str:
        return self.message


class ConversionError(ValueError):
    """A cascade or ensemble cannot be exported as an ONNX file, or not with these rows."""


class UnconvertibleMemberError(ConversionError):
    """One member of a cascade or ensemble cannot be turned into an ONNX graph.

    Where another package raised, ``__cause__`` is its error.

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
    member, stage
        As the parameters.
    """

    def __init__(self, member: str, stage: int, kind: str, problem: str) -> None:
        super().__init__(member, stage, kind, problem)
        self.member = member
        self.stage = stage
        self.kind = kind
        self.problem = problem

    def __str__(self) -> str:
        stage = f"stage {self.stage} {self.member!r} ({self.kind})"
        return f"{stage} cannot be exported: {self.problem}"


class OnnxMismatchError(ConversionError):
    """An exported file gives other outputs on some rows, so it is not returned.

    Parameters
    ----------
    problems : list of str
        What differs, where, and what would help.
    report : ExportReport
        All figures of the comparison; prints as text.

    Attributes
    ----------
    problems, report
        As the parameters.
    """

    def __init__(self, problems: list[str], report: typing.Any) -> None:
        super().__init__(problems, report)
        self.problems = problems
        self.report = report

    def __str__(self) -> str:
        return "the file differs from the model on these rows: " + "; ".join(self.problems)


class InfeasibleConstraintError(ValueError):
    """No candidate that was evaluated satisfies the constraints.

    Parameters
    ----------
    constraints : dict from str to float
        The constraints.
    nearest : list of str
        What comes nearest, in words.

    Attributes
    ----------
    constraints, nearest
        As the parameters.
    """

    def __init__(self, constraints: dict[str, float], nearest: list[str]) -> None:
        super().__init__(constraints, nearest)
        self.constraints = constraints
        self.nearest = nearest

    def __str__(self) -> str:
        required = ", ".join(f"{name}={value:.6g}" for name, value in self.constraints.items())
        return f"no candidate reaches {required}; " + "; ".join(self.nearest)


class InvalidProbabilitiesError(ValueError):
    """A member's output is not a matrix of class probabilities.

    Parameters
    ----------
    member : str
        Name of the member.
    problem : str
        What is wrong with its output, and what is accepted.

    Attributes
    ----------
    member
        As the parameter.
    """

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(member, problem)
        self.member = member
        self.problem = problem

    def __str__(self) -> str:
        return f"predict_proba of {self.member!r} {self.problem}"


class MemberFailedError(ValueError):
    """A member raised while predicting probabilities; ``__cause__`` is its own error.

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
    member, stage
        As the parameters.
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
    model
        As the parameter.
    """

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return f"model={self.model}: {self.problem}"


class StageFailedWarning(UserWarning):
    """A stage failed, and the rows that had reached it keep the prediction of earlier stages.

    Parameters
    ----------
    stage : int
        The stage that failed, counted from 0.
    rows : ndarray of shape (n_rows,)
        Positions in X of these rows.
    cause : str
        Text of the stage's error.

    Attributes
    ----------
    stage, rows
        As the parameters.
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
            f"stage {self.stage} failed, so {len(self.rows)} rows ({shown}{more}) keep the "
            f"prediction of the stages before it: {self.cause}"
        )


class AllAbstainedWarning(UserWarning):
    """Every member abstained on some rows, whose output is the class shares in training."""


class UnseenClassWarning(UserWarning):
    """A stage before the last has never seen some class, so it cannot know when to defer on it."""


class IgnoredWeightsWarning(UserWarning):
    """A member's ``fit`` takes no ``sample_weight``, so it was fitted without."""


class ScoreNotReachedWarning(UserWarning):
    """With the given combination, no thresholds reach the score of the best member."""


class FewSamplesWarning(UserWarning):
    """Too few of the rows given to an export reached some stage to verify it there."""


class NoGainWarning(UserWarning):
    """An exported cascade is no faster for single rows than its most expensive member alone."""


class NotCertifiedWarning(UserWarning):
    """No loss could be certified, so the reported thresholds let no row exit."""
