//! The proxy between clients and servers that are made up, well-behaved and not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::golden::network::Upstream;
use crate::golden::recipe::Access;

/// Long enough for any machine; a test that waits for it fails.
const FOR_EVER: Duration = Duration::from_secs(60);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A proxy, and where it listens.
fn proxy(access: Access, archives: &[SocketAddr], upstream: Upstream) -> (Proxy, SocketAddr) {
    let (listener, address) = listen();
    let archives = archives.iter().map(|at| Address::new(&at.ip().to_string(), at.port())).collect();
    (Proxy::start(listener, Rules { access, archives, upstream }).unwrap(), address)
}

/// A proxy for one archive on this machine.
fn for_archive(archive: SocketAddr) -> (Proxy, SocketAddr) {
    proxy(Access::Packages, &[archive], Upstream::default())
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(FOR_EVER)).unwrap();
    stream
}

/// Everything that is answered to `request`, to the end of the connection.
fn talk(to: SocketAddr, request: &str) -> String {
    let mut stream = connect(to);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one head, byte by byte.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A server whose connections, one after the other, are served by `serve`, which gets its number.
fn server(serve: impl Fn(usize, &mut TcpStream) + Send + 'static) -> SocketAddr {
    let (listener, address) = listen();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(FOR_EVER)).unwrap();
            stream.set_nodelay(true).unwrap();
            serve(number, &mut stream);
        }
    });
    address
}

/// A server that answers every request with its path, and closes after `most` of them, said before or not.
fn closing(most: usize, said: bool) -> SocketAddr {
    server(move |_, stream| {
        for answered in 1..=most {
            let Some(head) = head(stream) else { return };
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let close = if answered == most && said { "Connection: close\r\n" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n{path}", path.len());
            // At once: closing with requests unread takes back what was not sent yet.
            stream.write_all(answer.as_bytes()).unwrap();
        }
    })
}

/// One that closes when its client does.
fn echo() -> SocketAddr {
    closing(usize::MAX, true)
}

fn get(server: SocketAddr, path: &str, more: &str) -> String {
    format!("GET http://{server}{path} HTTP/1.1\r\nHost: {server}\r\n{more}\r\n")
}

#[test]
fn requests_at_once_are_answered_in_their_order_however_often_the_server_closes() {
    for (most, said) in [(1, true), (3, true), (1000, true), (1, false), (3, false)] {
        let archive = closing(most, said);
        let (_proxy, at) = for_archive(archive);
        let last = |number| if number == 24 { "Connection: close\r\n" } else { "" };
        let requests: String =
            (0..25).map(|number| get(archive, &format!("/<{number}>"), last(number))).collect();
        let answer = talk(at, &requests);
        let bodies: Vec<&str> =
            answer.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP").next().unwrap()).collect();
        let expected: Vec<String> = (0..25).map(|number| format!("/<{number}>")).collect();
        assert_eq!(bodies, expected, "{most} {said}");
    }
}

#[test]
fn requests_are_passed_on_before_the_earlier_ones_are_answered() {
    let (told, heard) = mpsc::channel();
    // It answers only when it has ten requests.
    let archive = server(move |_, stream| {
        let heads: Vec<String> = (0..10).map(|_| head(stream).unwrap()).collect();
        told.send(heads.len()).unwrap();
        for _ in heads {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let (_proxy, at) = for_archive(archive);
    let requests: String = (0..10).map(|number| get(archive, &format!("/{number}"), "")).collect();
    let mut client = connect(at);
    client.write_all(requests.as_bytes()).unwrap();
    for _ in 0..10 {
        assert_eq!(head(&mut client).unwrap(), "HTTP/1.1 204 No Content\r\n\r\n");
    }
    assert_eq!(heard.recv_timeout(FOR_EVER).unwrap(), 10);
}

#[test]
fn a_server_that_takes_one_request_at_a_time_is_asked_one_at_a_time() {
    // The first connection, with several requests on it, is closed without an answer.
    let archive = server(|number, stream| {
        if number == 0 {
            head(stream).unwrap();
            let (mut buffer, _) = ([0; 1], ());
            // Until the second one is there.
            stream.read_exact(&mut buffer).unwrap();
            return;
        }
        head(stream).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let (_proxy, at) = for_archive(archive);
    let requests = get(archive, "/1", "") + &get(archive, "/2", "Connection: close\r\n");
    assert_eq!(talk(at, &requests).matches("\r\n\r\nok").count(), 2);
}

#[test]
fn all_the_ways_in_which_an_answer_ends_are_understood() {
    let archive = server(|_, stream| {
        while let Some(head) = head(stream) {
            let (_, rest) = head.split_once('/').unwrap();
            let answer: &[u8] = match rest.split(' ').next().unwrap() {
                "chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                "head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                "unchanged" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
                "early" => b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny",
                "part" => b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-2/3\r\nContent-Length: 2\r\n\r\nbc",
                _ => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nto the end").unwrap();
                    return;
                }
            };
            stream.write_all(answer).unwrap();
        }
    });
    let (_proxy, at) = for_archive(archive);
    let requests = [
        get(archive, "/chunks", ""),
        get(archive, "/head", "").replacen("GET", "HEAD", 1),
        get(archive, "/unchanged", ""),
        get(archive, "/early", ""),
        get(archive, "/part", "Range: bytes=1-\r\n"),
        get(archive, "/end", ""),
    ];
    assert_eq!(
        talk(at, &requests.concat()),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\
         HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny\
         HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-2/3\r\nContent-Length: 2\r\n\r\nbc\
         HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"
    );
}

#[test]
fn a_body_is_passed_on_and_its_answer_back() {
    let archive = server(|_, stream| {
        let head = head(stream).unwrap();
        assert!(!head.contains("Expect"), "{head}");
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        write!(
            stream,
            "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\n{}",
            std::str::from_utf8(&body).unwrap()
        )
        .unwrap();
    });
    let (_proxy, at) = for_archive(archive);
    let post = |more: &str| get(archive, "/x", more).replacen("GET", "POST", 1);
    let plain = post("Content-Length: 5\r\n")
        + "hello"
        + &post("Content-Length: 5\r\nConnection: close\r\n")
        + "again";
    let answer = talk(at, &plain);
    assert!(answer.contains("\r\n\r\nhelloHTTP/1.1 201") && answer.ends_with("\r\n\r\nagain"), "{answer}");
    let waiting = post("Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n");
    let mut client = connect(at);
    client.write_all(waiting.as_bytes()).unwrap();
    assert_eq!(head(&mut client).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"later").unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n\r\nlater"), "{rest}");
}

#[test]
fn an_answer_that_is_cut_off_is_not_taken_for_a_whole_one() {
    let archive = server(|_, stream| {
        head(stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    });
    let (_proxy, at) = for_archive(archive);
    let mut client = connect(at);
    client.write_all(get(archive, "/", "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let ended = client.read_to_end(&mut answer);
    // Broken off, not closed; what came before may be lost with it.
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn only_archives_are_reached_when_the_recipe_says_so() {
    let archive = echo();
    let other = echo();
    let (_proxy, at) = for_archive(archive);
    let asked =
        get(other, "/", "") + &get(archive, "/in-between", "") + &get(other, "/", "Connection: close\r\n");
    let answer = talk(at, &asked);
    assert_eq!(answer.matches("HTTP/1.1 403 not an archive of packages").count(), 2, "{answer}");
    assert!(answer.contains("\r\n\r\n/in-betweenHTTP/1.1 403"), "{answer}");
    assert!(answer.contains(&format!("goldimg: {other} is not one of the archives")), "{answer}");
    assert!(
        answer.contains(&format!("({archive})")) && answer.contains("network = \"packages\""),
        "{answer}"
    );
    let tunnel = |to: SocketAddr| talk(at, &format!("CONNECT {to} HTTP/1.1\r\nConnection: close\r\n\r\n"));
    assert!(tunnel(other).starts_with("HTTP/1.1 403 "));
    // Another port of the archive's host is not the archive.
    assert!(tunnel(SocketAddr::new(archive.ip(), 1)).starts_with("HTTP/1.1 403 "));
}

#[test]
fn this_machine_is_out_of_reach_whatever_its_name() {
    let service = echo();
    let (_proxy, at) = proxy(Access::Full, &[], Upstream::default());
    let port = service.port();
    for host in
        ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "2130706433"]
    {
        let answer = talk(at, &format!("CONNECT {host}:{port} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        // A machine without IPv6 knows no way there.
        let refused = answer.starts_with("HTTP/1.1 403 the building machine itself is out of reach\r\n");
        assert!(refused || (host.contains(':') && answer.starts_with("HTTP/1.1 502 ")), "{host}: {answer}");
        let answer = talk(at, &format!("GET http://{host}:{port}/ HTTP/1.0\r\n\r\n"));
        assert!(!answer.contains("200 OK"), "{host}: {answer}");
    }
    // As an archive it is reached.
    let (_proxy, at) = proxy(Access::Full, &[service], Upstream::default());
    assert!(talk(at, &get(service, "/a", "Connection: close\r\n")).ends_with("\r\n\r\n/a"));
}

#[test]
fn a_tunnel_carries_both_ways_and_ends_with_both() {
    let archive = server(|_, stream| {
        let mut all = String::new();
        // To the end of what the client says, which has not heard the answer then.
        stream.read_to_string(&mut all).unwrap();
        stream.write_all(all.to_uppercase().as_bytes()).unwrap();
    });
    let (_proxy, at) = for_archive(archive);
    let mut client = connect(at);
    write!(client, "CONNECT {archive} HTTP/1.1\r\n\r\nearly ").unwrap();
    assert_eq!(head(&mut client).unwrap(), "HTTP/1.1 200 Connection established\r\n\r\n");
    client.write_all(b"and late").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "EARLY AND LATE");
}

/// What `request` becomes on its way to another proxy, which answers with `answer`.
fn by_way_of(request: &str, archive: SocketAddr, answer: &'static str) -> (String, String) {
    let (told, heard) = mpsc::channel();
    let other = server(move |_, stream| {
        told.send(head(stream).unwrap()).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let apt = format!("Acquire::http::Proxy \"http://me:hunter2@{other}/\";\n");
    let upstream = Upstream::new(&apt, []).unwrap();
    let (_proxy, at) = proxy(Access::Packages, &[archive], upstream);
    let said = talk(at, request);
    (heard.recv_timeout(FOR_EVER).unwrap(), said)
}

#[test]
fn another_proxy_is_asked_in_its_own_way_with_a_password_that_no_step_sees() {
    let archive: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let request = get(archive, "/a", "Connection: close\r\n");
    let (asked, said) = by_way_of(&request, archive, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let password = "Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n";
    assert_eq!(asked, format!("GET http://192.0.2.1/a HTTP/1.1\r\nHost: 192.0.2.1\r\n{password}\r\n"));
    assert!(said.ends_with("\r\n\r\nhi"), "{said}");
    let tunnel = format!("CONNECT {archive} HTTP/1.1\r\n\r\n");
    let (asked, said) = by_way_of(&tunnel, archive, "HTTP/1.1 200 Fine\r\n\r\nthrough");
    assert_eq!(asked, format!("CONNECT {archive} HTTP/1.1\r\nHost: 192.0.2.1\r\n{password}\r\n"));
    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nthrough");
    let refused = "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=hunter2\r\n\r\n";
    let (_, said) = by_way_of(&tunnel.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), archive, refused);
    assert!(said.starts_with("HTTP/1.1 502 192.0.2.1:80 cannot be reached: the proxy 127."), "{said}");
    assert!(said.contains(" answers 407") && !said.contains("hunter2"), "{said}");
}

#[test]
fn this_machine_is_not_reached_by_way_of_another_proxy_either() {
    let other = echo();
    let variables = [("http_proxy", other), ("https_proxy", other)];
    let variables = variables.map(|(name, at)| (name.to_owned(), format!("http://{at}")));
    let (_proxy, at) = proxy(Access::Full, &[], Upstream::new("", variables).unwrap());
    for host in ["localhost", "a.localhost", "127.0.0.1", "169.254.169.254", "[::1]"] {
        let answer = talk(at, &format!("GET http://{host}/ HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403 the building machine"), "{host}: {answer}");
        let answer = talk(at, &format!("CONNECT {host}:22 HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403 the building machine"), "{host}: {answer}");
    }
    // A name that means something to the other proxy alone.
    let answer = talk(at, "GET http://only-there.invalid/x HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nhttp://only-there.invalid/x"), "{answer}");
}

#[test]
fn what_is_no_request_is_answered_and_the_connection_closed() {
    let (_proxy, at) = proxy(Access::Full, &[], Upstream::default());
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        "GET http://a/ HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let answer = talk(at, request);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"),
            "{request:?}: {answer}"
        );
    }
    let answer = talk(at, &format!("GET http://a/ HTTP/1.1\r\nX: {}", "x".repeat(wire::BUFFER)));
    assert!(answer.ends_with("goldimg: a head of more than 64 KiB\n"), "{answer}");
}

#[test]
fn servers_that_speak_nonsense_are_an_error_for_the_client_alone() {
    let answers: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"",
    ];
    let archive = server(move |number, stream| {
        head(stream).unwrap();
        stream.write_all(answers[number % answers.len()]).unwrap();
    });
    let (_proxy, at) = for_archive(archive);
    for number in 0..answers.len() {
        let answer = talk(at, &get(archive, "/", "Connection: close\r\n"));
        assert!(answer.starts_with("HTTP/1.1 502 "), "{number}: {answer}");
    }
    // Nobody listens there any more.
    let (gone, address) = listen();
    drop(gone);
    let (_proxy, at) = for_archive(address);
    let answer = talk(at, &get(address, "/", "Connection: close\r\n"));
    assert!(
        answer.starts_with(&format!("HTTP/1.1 502 {address} cannot be reached: Connection refused")),
        "{answer}"
    );
}

#[test]
fn the_end_of_the_proxy_ends_everything_that_waits() {
    let (told, heard) = mpsc::channel();
    let archive = server(move |_, stream| {
        head(stream).unwrap();
        told.send(()).unwrap();
        // The connection's end, whatever it is.
        let _ = stream.read(&mut [0]);
        told.send(()).unwrap();
    });
    let (proxy, at) = for_archive(archive);
    let mut waiting = connect(at);
    waiting.write_all(get(archive, "/", "").as_bytes()).unwrap();
    heard.recv_timeout(FOR_EVER).unwrap();
    let mut silent = connect(at);
    drop(proxy);
    heard.recv_timeout(FOR_EVER).unwrap();
    for stream in [&mut waiting, &mut silent] {
        let mut rest = Vec::new();
        // Reset or closed, with or without last words.
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(TcpStream::connect(at).is_err());
}

#[test]
fn there_is_room_for_so_many_clients() {
    let full = |clients, stopped| Live { clients, stopped, ..Live::default() }.is_full();
    assert!(full(64, false) && full(65, false));
    assert!(!full(63, false) && !full(64, true));
}

#[test]
fn more_clients_than_there_is_room_for_wait_until_others_are_gone() {
    let archive = echo();
    let (_proxy, at) = for_archive(archive);
    let mut held: Vec<TcpStream> = (0..MOST_CLIENTS).map(|_| connect(at)).collect();
    let mut late = connect(at);
    late.write_all(get(archive, "/late", "Connection: close\r\n").as_bytes()).unwrap();
    held.pop();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("/late"), "{answer}");
}
