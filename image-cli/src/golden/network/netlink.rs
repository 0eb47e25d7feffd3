//! One question to the kernel's network stack, and its answer: rtnetlink(7).
//!
//! Sixteen bytes of header and a structure each way. The crates for it are asynchronous or generate the whole protocol;
//! two messages are all that is needed here.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Of `linux/netlink.h`: this is a request; an answer is wanted even if there is nothing to tell.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// Make it, or change the one that is there.
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;
/// The type of an answer that is an error number, or 0.
const ERROR: u16 = 2;
/// The length of every message's header.
const HEADER_LEN: usize = 16;
/// More than any answer to these questions has.
const LARGEST: usize = 8 << 10;

/// Of `linux/rtnetlink.h`.
const NEW_LINK: u16 = 16;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const ROUTE_DESTINATION: u16 = 1;
/// The kinds of routes: to somewhere else, and to nowhere.
const UNICAST: u8 = 1;
const UNREACHABLE: u8 = 7;
/// The table that routes are in if nothing else is said, and who makes them: an administrator.
const MAIN: u8 = 254;
const STATIC: u8 = 4;

/// Takes the loopback interface of this thread's network namespace up.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn loopback_up() -> io::Result<()> {
    // struct ifinfomsg. A namespace's first interface is its loopback, always: index 1; IFF_UP is 1, to be set, of what is changed.
    let mut body = vec![0; 4];
    for word in [1_u32, 1, 1] {
        body.extend(word.to_ne_bytes());
    }
    ask(NEW_LINK, ACKNOWLEDGE, &body).map(|_| ())
}

/// Whether packets to `address` leave this thread's network namespace for one host.
///
/// # Errors
/// If the kernel knows no way there.
pub(super) fn leads_away(address: IpAddr) -> io::Result<bool> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
    };
    let bits = u8::try_from(bytes.len().saturating_mul(8)).unwrap_or(u8::MAX);
    let answer = ask(GET_ROUTE, 0, &route(family, bits, [0; 4], &bytes))?;
    let kind = answer.get(7).ok_or_else(|| io::Error::other("the kernel's answer is too short"))?;
    Ok(*kind == UNICAST)
}

/// Makes the addresses that begin with these bits of `address` unreachable from this thread's network namespace.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn shut_off(address: Ipv4Addr, bits: u8) -> io::Result<()> {
    let body = route(AddressFamily::INET, bits, [MAIN, STATIC, 0, UNREACHABLE], &address.octets());
    ask(NEW_ROUTE, ACKNOWLEDGE | CREATE | REPLACE, &body).map(|_| ())
}

/// struct rtmsg, of which `rest` is table, protocol, scope and type, and one attribute.
fn route(family: AddressFamily, bits: u8, rest: [u8; 4], destination: &[u8]) -> Vec<u8> {
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let mut body = vec![family, bits, 0, 0];
    body.extend(rest);
    body.extend([0; 4]);
    body.extend(u16::try_from(destination.len().saturating_add(4)).unwrap_or_default().to_ne_bytes());
    body.extend(ROUTE_DESTINATION.to_ne_bytes());
    body.extend(destination);
    body
}

/// Sends one message, and answers with the body of the first one that comes back; nothing for an acknowledgement.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    // Without a protocol it is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let length = u32::try_from(HEADER_LEN.saturating_add(body.len())).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST | flags).to_ne_bytes());
    // A number for this request, and the kernel finds out who asks.
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = vec![0; LARGEST];
    let (_, length) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    answer.truncate(length);
    let short = || io::Error::other("the kernel's answer is too short");
    let body = answer.get(HEADER_LEN..).ok_or_else(short)?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if kind != Some(ERROR) {
        return Ok(body.to_vec());
    }
    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match number.ok_or_else(short)? {
        0 => Ok(Vec::new()),
        number => Err(io::Error::from_raw_os_error(number.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_addresses_are_this_machine() {
        for own in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(!leads_away(own.parse().unwrap()).unwrap_or(false), "{own}");
        }
        assert!(!leads_away("255.255.255.255".parse().unwrap()).unwrap_or(false));
        assert!(!leads_away("224.0.0.1".parse().unwrap()).unwrap_or(false));
    }

    #[test]
    fn what_may_not_be_asked_is_an_error() {
        // A kind of message that there is not, and half a route.
        ask(0x7fff, ACKNOWLEDGE, &[]).unwrap_err();
        ask(GET_ROUTE, 0, &[2, 32]).unwrap_err();
    }
}
