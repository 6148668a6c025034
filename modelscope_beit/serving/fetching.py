"""URL -> bytes, only from public addresses: the address that was checked is the one that is connected to.

A name may mean an address of the server's own network, be it by a redirect or by an answer of the DNS that changes
between a check and its use. So the check stands where connections are made, and there is one look-up for each.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from modelscope_beit.errors import ImageError
from modelscope_beit.images.downloading import shortened

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# What `ipaddress` takes for public, or does in some version of Python: where clouds keep their metadata (Azure, Oracle;
# of the others it is link-local, private or shared), and IPv6 addresses that stand for an IPv4 one behind a translator.
_OF_CLOUDS = ("168.63.129.16/32", "192.0.0.0/24")
_TRANSLATED = ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")
# What private networks had before fc00::/7, and some still have; and the younger one of the two for documentation.
_OF_SITES = ("fec0::/10", "3fff::/20")
_REFUSED = tuple(map(ipaddress.ip_network, _OF_CLOUDS + _TRANSLATED + _OF_SITES))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddressError(httpcore.ConnectError):
    """A name whose address is not one of the public internet."""


def is_public(address: Address) -> bool:
    """Tells whether an address belongs to the public internet.

    Loopback, private, link-local (where clouds keep their metadata), shared (Alibaba Cloud's metadata), multicast and
    reserved ones do not, nor does an IPv6 address that stands for one of these.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address.scope_id is not None:
            return False
    if address.is_multicast or address.is_reserved or any(address in network for network in _REFUSED):
        return False
    return address.is_global


class Fetcher:
    """Fetches pictures over http and https. most_bytes, seconds: of each. is_allowed: tells of an address."""

    def __init__(self, *, most_bytes: int, seconds: float, is_allowed: Callable[[Address], bool] = is_public) -> None:
        self._most_bytes, self._seconds = most_bytes, seconds
        # A connection for each picture: one that is kept would be an address that nobody checks again.
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=_CheckedNetwork(is_allowed), max_connections=32, max_keepalive_connections=0
        )

    async def __call__(self, url: str) -> bytes:
        """Returns what a URL holds, after redirects.

        Raises ImageError that names the URL, and tells nothing of what answers inside a network that is not public.
        """
        try:
            return await asyncio.wait_for(self._follow(url), self._seconds)
        except ImageError:
            raise
        except asyncio.TimeoutError:
            raise ImageError(f"{shortened(url)}: did not come within {self._seconds:g} seconds.") from None
        except ForbiddenAddressError:
            raise ImageError(f"{shortened(url)}: only public addresses are fetched from.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise ImageError(f"{shortened(url)}: the download failed ({type(error).__name__}).") from error
        # httpcore's and urllib's parsers: no URL, a port that is none, a host that is too long for the DNS.
        except (ValueError, UnicodeError, httpcore.UnsupportedProtocol) as error:
            raise ImageError(f"{shortened(url)}: is no URL that can be fetched.") from error

    async def close(self) -> None:
        """Ends all downloads."""
        await self._pool.aclose()

    async def _follow(self, url: str) -> bytes:
        here = url
        for _ in range(_MOST_REDIRECTS + 1):
            parts = urlsplit(here)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ImageError(f"{shortened(url)}: leads to something that is no URL of http or https.")
            target = here.partition("#")[0].encode("ascii")
            async with self._pool.stream("GET", target, headers={"User-Agent": "modelscope-beit"}) as answer:
                if answer.status not in _REDIRECTS:
                    return await self._read(url, answer)
                here = urljoin(here, _header(answer.headers, b"location"))
        raise ImageError(f"{shortened(url)}: is redirected more than {_MOST_REDIRECTS} times.")

    async def _read(self, url: str, answer: httpcore.Response) -> bytes:
        if answer.status != 200:
            raise ImageError(f"{shortened(url)}: the server answered {answer.status}.")
        content = bytearray()
        async for chunk in answer.aiter_stream():
            content += chunk
            if len(content) > self._most_bytes:
                raise ImageError(f"{shortened(url)}: has more than {self._most_bytes} bytes.")
        return bytes(content)


class _CheckedNetwork(httpcore.AnyIOBackend):
    """Connects to addresses that are allowed; names are looked up here, once."""

    def __init__(self, is_allowed: Callable[[Address], bool]) -> None:
        self._is_allowed = is_allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Returns a connection to the first address of a name. Raises ForbiddenAddressError if any is forbidden."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = [str(place[0]) for *_, place in found]
        # A name with both kinds of addresses is nobody's mistake.
        if not addresses or not all(self._is_allowed(ipaddress.ip_address(address)) for address in addresses):
            raise ForbiddenAddressError(host)
        return await super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuses: no URL means a socket of this machine."""
        raise ForbiddenAddressError(path)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")
