"""The errors of what surrounds a run among real parties: files that do not fit or permit."""

from __future__ import annotations

from jsmpc._src.errors import JsmpcError


class ConfigError(JsmpcError, ValueError):
    """A file of parties, a certificate or a key that cannot be used as it is.

    Example:
      >>> from jsmpc._src.deployment import identity
      >>> identity.check_name("alice & bob")
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.ConfigError: 'alice & bob' is no name of a party: …
    """


class PolicyError(JsmpcError, ValueError):
    """A program, an input or a reveal that a party's policy does not permit.

    Example:
      >>> from jsmpc._src.deployment.policy import Policy
      >>> Policy(inputs=("images",)).check("00" * 32, ["images", "labels"], [], "runs.log")
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.PolicyError: the policy does not permit the input 'labels': …
    """


class LogError(JsmpcError, ValueError):
    """A log of runs whose lines are not what was written, or that cannot be written.

    Example:
      >>> from jsmpc._src.deployment import log
      >>> log.verify("no such file.log")
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.LogError: no such file.log: there is no such log. …
    """


class AgreementError(JsmpcError, ValueError):
    """Endpoints that are about to run different programs, or with different partners or versions.

    Example:
      >>> from jsmpc._src.deployment.errors import AgreementError
      >>> issubclass(AgreementError, ValueError)
      True
    """
