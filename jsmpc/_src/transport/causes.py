"""Why a call has failed, from what gRPC tells."""

from __future__ import annotations

# What the texts of gRPC have in them, and what it means for the two ends.
_UNREACHABLE = ("failed to connect", "DNS resolution failed", "errors resolving")
_MEANINGS = {
    "CERTIFICATE_VERIFY_FAILED": "it shows another certificate than the one in the file here",
    "Peer name": "it shows the certificate of another name",
    "WRONG_VERSION_NUMBER": "what answers there does not speak TLS",
    "Connection refused": "nobody listens there",
    "DNS resolution failed": "the name of the host is not known",
    "errors resolving": "the name of the host is not known",
    "Socket closed": "it hangs up. Does its file have the certificate of {caller}?",
    "Connection reset": "it hangs up. Does its file have the certificate of {caller}?",
}
_LONGEST = 500  # characters


def explained(code: str, text: str, address: str, caller: str) -> str:
    """Why a call has failed.

    Args:
      code, text: gRPC's.
      address: the worker's, which was to be reached.
      caller: who has asked.

    Example:
      >>> from jsmpc._src.transport import causes
      >>> text = "failed to connect to all addresses; last error: … Connection refused"
      >>> causes.explained("UNAVAILABLE", text, "127.0.0.1:5001", "carol")
      'cannot be reached at 127.0.0.1:5001: nobody listens there'
    """
    short = "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])
    if code == "UNAUTHENTICATED":
        return f"refuses {caller}: {short}"
    if code == "RESOURCE_EXHAUSTED":
        return f"is busy: {short}"
    if code == "CANCELLED":
        return "the call was ended, here or there"
    if code != "UNAVAILABLE":
        return f"the call has failed: {short} ({code})"
    if not any(sign in text for sign in _UNREACHABLE):
        return f"the connection was lost in a call: {short}"
    found = (meaning for sign, meaning in _MEANINGS.items() if sign in text)
    return f"cannot be reached at {address}: {next(found, short).format(caller=caller)}"
