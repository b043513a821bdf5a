"""Model repositories of the Hugging Face hub: the commit and files that a name stands for, and the requests.

A token is read from the environment when it is sent. It goes to the hub alone and is never written or shown: a redirect
to the hub's storage goes without it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from symphony.models.endpoint import Secret, read_key
from symphony.types import SymphonyError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

HUB = "https://huggingface.co"
ENDPOINT_VARIABLE = "HF_ENDPOINT"
"""A mirror asked instead of `HUB`; checksums are still kept under the hub's own addresses."""
TOKEN_VARIABLE = "HF_TOKEN"
TIMEOUT_S = 60
WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
)
"""Files of a language model that transformers reads besides its weights."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/\{revision\}/?")
# `consolidated*` are the same weights again, in the format of the maker's own code (Mistral, Llama).
_WEIGHTS = re.compile(r"(?!consolidated)[\w.-]+\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A repository at one commit.

    Attributes:
        revision: The commit, 40 hex digits.
        files: Name -> sha256; "" if the hub does not give it (small files).
        sizes: Name -> bytes, for files whose size the hub gives.
    """

    revision: str
    files: Mapping[str, str]
    sizes: Mapping[str, int]


def repository(address: str) -> str | None:
    """Returns `<org>/<name>` if an address is in a model repository (`.../<org>/<name>/resolve/{revision}`)."""
    try:
        match = _REPOSITORY.fullmatch(urlsplit(address).path)
    except ValueError:  # not an address, e.g. "http://["
        return None
    return match.group(1) if match else None


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit, which, unlike a branch, never changes its meaning."""
    return _COMMIT.fullmatch(revision) is not None


def api_address(address: str, revision: str) -> str:
    """Returns the address of a repository's listing at a revision; always the canonical one, even with a mirror."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/api/models/{repository(address)}/revision/{revision}"


def listing(address: str, revision: str) -> Listing:
    """Asks the hub for the commit of a revision, and for its config, tokenizer, chat template and safetensors.

    Raises:
        SymphonyError: No answer, a repository that needs a token, or one without config or safetensors.
    """
    from huggingface_hub import HfApi  # imported here: planning, which needs no hub, would start .3 s later
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    url, name = api_address(address, revision), repository(address) or ""
    where = located(f"{urlsplit(address).scheme}://{urlsplit(address).netloc}/")
    token = _token().text if _is_hub(where) else ""
    try:
        info = HfApi(endpoint=where.rstrip("/"), token=token or False).model_info(
            name, revision=revision, files_metadata=True, timeout=TIMEOUT_S
        )
    except HfHubHTTPError as error:
        message = refusal(url, error.response.status_code, error.response.reason_phrase)
    except (HTTPError, OSError) as error:
        message = hidden(f"{located(url)}: found {error}, allowed: the hub's answer")
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{located(url)}: found no list of files, allowed: the hub's answer, JSON"
    else:
        return _chosen(url, str(info.sha), {file.rfilename: file for file in info.siblings or ()})
    raise SymphonyError(message)  # raised here, so that it does not keep the hub's reply, which may repeat the token


def _chosen(url: str, commit: str, siblings: Mapping[str, RepoSibling]) -> Listing:
    if not is_commit(commit):
        raise SymphonyError(f"{located(url)}: found no commit, allowed: 40 hex digits in `sha`")
    names = sorted(name for name in siblings if name in WANTED or _WEIGHTS.fullmatch(name))
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise SymphonyError(f"{located(url)}: found {', '.join(names) or 'no file'}, allowed: config and *.safetensors")
    shas = {name: str(lfs.sha256) if (lfs := siblings[name].lfs) else "" for name in names}
    return Listing(
        revision=commit,
        files={name: sha if re.fullmatch("[0-9a-f]{64}", sha) else "" for name, sha in shas.items()},
        sizes={name: size for name, file in siblings.items() if isinstance(size := file.size, int)},
    )


# --------------------------------------------------------------------------- asking


def located(url: str) -> str:
    """Returns where a hub address is requested: at $HF_ENDPOINT, if that is set."""
    mirror = os.environ.get(ENDPOINT_VARIABLE, "").strip().rstrip("/")
    return mirror + url.removeprefix(HUB) if mirror and url.startswith(f"{HUB}/") else url


def opened(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """Opens any address with GET, like `urlopen`; sends the token if the address is the hub's.

    Raises:
        HTTPError, URLError: As in `urlopen`.
        SymphonyError: The token holds characters that a header cannot hold.
    """
    request = Request(located(url), headers=dict(headers or {}))
    _sign(request)
    return build_opener(_Redirects).open(request, timeout=TIMEOUT_S)


def refusal(url: str, code: int, reason: Any) -> str:
    """Returns one line for an HTTP status that ends a download."""
    message = hidden(f"{located(url)}: found HTTP {code} {reason}")
    if code not in (401, 403) or not _is_hub(located(url)):
        return f"{message}, allowed: a file"
    repository = "/".join(urlsplit(url).path.removeprefix("/api/models").split("/")[1:3])
    own = f"the token of an account in {TOKEN_VARIABLE}"
    without = "" if _token().text else f" and no {TOKEN_VARIABLE} in the environment"
    return f"{message}{without}, allowed: {own} that accepted the licence at {HUB}/{repository}"


def hidden(text: str) -> str:
    """Returns the words without the token, wherever they come from."""
    return _token().hidden(text)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, and sends the token again only within the hub (large files are in another storage)."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            _sign(request)
        return request


def _sign(request: Request) -> None:
    token = _token()
    if token.text and _is_hub(request.full_url):
        # Unredirected: urllib would copy any other header to the redirect's target.
        request.add_unredirected_header("Authorization", f"Bearer {token.text}")


def _is_hub(url: str) -> bool:
    return _origin(url) == _origin(located(f"{HUB}/"))


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _token() -> Secret:
    return read_key(TOKEN_VARIABLE) if os.environ.get(TOKEN_VARIABLE, "").strip() else Secret("")
