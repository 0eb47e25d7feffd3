//! Heads, right and wrong: what is understood, what is passed on.

use super::*;

fn request(text: &str) -> Result<Request, Malformed> {
    Request::parse(text.as_bytes()).map(|parsed| parsed.expect("a whole head").0)
}

fn response(text: &str, method: &str) -> Result<Response, Malformed> {
    Response::parse(text.as_bytes(), method).map(|parsed| parsed.expect("a whole head").0)
}

#[test]
fn a_request_is_passed_on_without_what_was_for_this_proxy() {
    let text = "GET http://Mirror.example:80/debian/a.deb?x=1 HTTP/1.1\r\nHost: other.example\r\n\
                Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\nTE: trailers\r\n\
                Proxy-Authorization: Basic eA==\r\nRange: bytes=5-\r\nUser-Agent: apt\r\n\r\nGET";
    let (request, length) = Request::parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(length, text.len() - 3);
    assert!(request.is_plain() && request.stays && !request.waits);
    assert_eq!(
        String::from_utf8(request.encode(None)).unwrap(),
        "GET /debian/a.deb?x=1 HTTP/1.1\r\nHost: mirror.example\r\nRange: bytes=5-\r\nUser-Agent: apt\r\n\r\n"
    );
    let odd = self::request("GET HTTP://a?<|>\"#x HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(odd.target, Target::Resource(Address::new("a", 80), "/?<|>\"#x".into()));
    let to_proxy = String::from_utf8(request.encode(Some(Some("Basic bWU6aXQ=")))).unwrap();
    assert!(to_proxy.starts_with("GET http://mirror.example/debian/a.deb?x=1 HTTP/1.1\r\n"), "{to_proxy}");
    assert!(to_proxy.contains("Proxy-Authorization: Basic bWU6aXQ=\r\n") && !to_proxy.contains("eA=="));
}

#[test]
fn a_head_that_has_not_ended_is_waited_for() {
    let text = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(Request::parse(&text[..end]), Ok(None), "{end}");
    }
    assert!(Request::parse(text).unwrap().is_some());
}

#[test]
fn requests_that_could_be_understood_in_two_ways_are_refused() {
    let with = |headers: &str| request(&format!("POST http://a/ HTTP/1.1\r\n{headers}\r\n"));
    assert_eq!(with("Content-Length: 5\r\n").unwrap().body, Body::Length(5));
    assert_eq!(with("Content-Length: 5, 5\r\n").unwrap().body, Body::Length(5));
    assert_eq!(with("Transfer-Encoding: gzip, chunked\r\n").unwrap().body, Body::Chunked);
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "A B: c\r\n",
        "A: b\r\n c\r\n",
        "A: b\nB\0: c\r\n",
    ] {
        assert!(with(headers).is_err(), "{headers:?}");
    }
    let many = "A: b\r\n".repeat(MOST_HEADERS + 1);
    assert_eq!(with(&many), Err(Malformed("too many headers")));
}

#[test]
fn what_a_proxy_is_not_asked_is_refused() {
    for line in [
        "GET / HTTP/1.1",
        "GET https://a/ HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://user:word@a/ HTTP/1.1",
        "GET http://a:0/ HTTP/1.1",
        "GET http://a:99999/ HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT a HTTP/1.1",
        "CONNECT http://a/ HTTP/1.1",
        "GET http://a/ HTTP/2.0",
        "\u{16}\u{3}\u{1} x y",
    ] {
        assert!(Request::parse(format!("{line}\r\n\r\n").as_bytes()).is_err(), "{line:?}");
    }
    let tunnel = request("CONNECT [::1]:443 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(tunnel.target, Target::Tunnel(Address::new("::1", 443)));
    assert_eq!(
        String::from_utf8(tunnel.encode(Some(None))).unwrap(),
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"
    );
}

#[test]
fn an_answers_body_ends_as_the_rules_say() {
    let body = |head: &str, method: &str| response(&format!("HTTP/1.1 {head}\r\n\r\n"), method).unwrap().body;
    assert_eq!(body("200 OK\r\nContent-Length: 7", "GET"), Body::Length(7));
    assert_eq!(body("200 OK\r\nContent-Length: 7", "HEAD"), Body::NONE);
    assert_eq!(body("304 Not Modified\r\nContent-Length: 7", "GET"), Body::NONE);
    assert_eq!(body("204 No Content", "GET"), Body::NONE);
    assert_eq!(body("206 Partial Content\r\nContent-Length: 7", "GET"), Body::Length(7));
    assert_eq!(body("200 OK\r\nTransfer-Encoding: chunked", "GET"), Body::Chunked);
    assert_eq!(body("200 OK\r\nTransfer-Encoding: x", "GET"), Body::Close);
    assert_eq!(body("200 OK", "GET"), Body::Close);
}

#[test]
fn whether_a_connection_stays_is_known() {
    let stays = |head: &str| response(&format!("{head}\r\n\r\n"), "GET").unwrap().stays;
    assert!(stays("HTTP/1.1 200 OK\r\nContent-Length: 1"));
    assert!(!stays("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close"));
    assert!(!stays("HTTP/1.0 200 OK\r\nContent-Length: 1"));
    assert!(stays("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive"));
    assert!(!stays("HTTP/1.1 200 OK"));
}

#[test]
fn an_answer_is_passed_on_with_its_framing_and_without_its_connections_words() {
    let text = "HTTP/1.1 200 Fine\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\
                Transfer-Encoding: chunked\r\nETag: \"x\"\r\n\r\n";
    // Chunks count, and a length beside them must not reach anybody.
    let answer = response(text, "HEAD").unwrap();
    assert_eq!(
        String::from_utf8(answer.encode(true)).unwrap(),
        "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nETag: \"x\"\r\n\r\n"
    );
    assert!(answer.encode(false).starts_with(b"HTTP/1.1 200 Fine\r\nConnection: close\r\n"));
    // An interim answer is not the last one.
    let interim = response("HTTP/1.1 103 Early\r\n\r\n", "GET").unwrap();
    assert_eq!(interim.encode(false), b"HTTP/1.1 103 Early\r\n\r\n");
}

#[test]
fn our_own_words_are_one_line_in_the_head() {
    let (answer, body) = Response::own(403, "no\r\nX: y", "why");
    let head = String::from_utf8(answer.encode(true)).unwrap();
    assert!(head.starts_with("HTTP/1.1 403 no??X: y\r\nContent-Type: "), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
}

proptest::proptest! {
    /// Whatever a step or a server sends, it is understood, waited for or refused.
    #[test]
    fn any_head_is_survived(bytes in proptest::collection::vec(proptest::sample::select(
        b"GET http://a/:CONT-Lengh 0159\r\n\r\n\t,;@[]%HTTP/1.1\0\xff".to_vec(),
    ), 0..200)) {
        let _ = Request::parse(&bytes);
        let _ = Response::parse(&bytes, "GET");
    }
}
