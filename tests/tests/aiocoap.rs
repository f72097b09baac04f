//! Live exchanges with aiocoap, another implementation of CoAP and OSCORE, in both roles, over UDP on the loopback.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Algorithm, Binding, Context, OscoreOption, ReplayGuard, SenderSequence, Window, echo};
use cardea_tests::{eventually, process::Process, venv};
use serde_json::json;

const ALGORITHMS: [(Algorithm, &str); 2] =
    [(Algorithm::AesCcm16_64_128, "AES-CCM-16-64-128"), (Algorithm::ChaCha20Poly1305, "ChaCha20/Poly1305")];
const CLIENT_ID: u8 = 0x0c;
const SERVER_ID: u8 = 0x05;
const SALT: [u8; 8] = [0x5a; 8];
/// A peer on this machine answers at once, a slow one within seconds; silence is only waited for where it is expected.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(300);

fn secret(algorithm: Algorithm) -> Vec<u8> {
    (1..).take(algorithm.key_len()).collect()
}

fn context(algorithm: Algorithm, sender: u8, recipient: u8) -> Context {
    Context::derive(algorithm, &secret(algorithm), &SALT, None, &[sender], &[recipient]).unwrap()
}

/// The same context as aiocoap stores it.
fn write_settings(dir: &Path, (algorithm, name): (Algorithm, &str), sender: u8, recipient: u8) {
    let settings = json!({
        "algorithm": name,
        "secret_hex": hex::encode(secret(algorithm)),
        "salt_hex": hex::encode(SALT),
        "sender-id_hex": hex::encode([sender]),
        "recipient-id_hex": hex::encode([recipient]),
    });
    std::fs::write(dir.join("settings.json"), settings.to_string()).unwrap();
}

// ---------------------------------------------------------------------------------------------- our client

struct Client {
    context: Context,
    sequence: SenderSequence,
    socket: UdpSocket,
}

struct Reply {
    code: Code,
    payload: Vec<u8>,
    echo: Option<Vec<u8>>,
    own_partial_iv: Option<u64>,
}

impl Client {
    fn new(algorithm: Algorithm) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { context: context(algorithm, CLIENT_ID, SERVER_ID), sequence: SenderSequence::new(0), socket }
    }

    /// A protected request as it goes out.
    fn request(
        &mut self,
        code: Code,
        path: &[u8],
        echo: Option<&[u8]>,
        payload: &[u8],
    ) -> (Vec<u8>, Binding) {
        if let Some(limit) = self.sequence.needs_reservation() {
            self.sequence.reserved(limit).unwrap();
        }
        let number = self.sequence.take().unwrap();
        let (mut plain, mut wire) = ([0; 256], [0; 256]);
        let mut builder =
            Builder::request(&mut plain, code, number).unwrap().option(option::URI_PATH, path).unwrap();
        if let Some(value) = echo {
            builder = builder.option(option::ECHO, value).unwrap();
        }
        let len = builder.payload(payload).unwrap();
        let (len, binding) = self.context.protect_request(number, &plain[..len], &mut wire).unwrap();
        (wire[..len].to_vec(), binding)
    }

    fn exchange(&mut self, server: SocketAddr, wire: &[u8], patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        self.socket.send_to(wire, server).unwrap();
        let mut buffer = [0; 2048];
        let (len, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    }

    fn call(
        &mut self,
        server: SocketAddr,
        code: Code,
        path: &[u8],
        echo: Option<&[u8]>,
        payload: &[u8],
    ) -> Reply {
        let (wire, binding) = self.request(code, path, echo, payload);
        let answer = self.exchange(server, &wire, PATIENCE).expect("an answer");
        self.read(&binding, &answer)
    }

    fn read(&mut self, binding: &Binding, answer: &[u8]) -> Reply {
        let mut out = vec![0; answer.len()];
        let (len, own_partial_iv) = self.context.unprotect_response(binding, answer, &mut out).unwrap();
        let message = Message::parse(&out[..len]).unwrap();
        Reply {
            code: message.code(),
            payload: message.payload().to_vec(),
            echo: echo::value(&message).unwrap().map(<[u8]>::to_vec),
            own_partial_iv,
        }
    }
}

fn start_server(dir: &Path, log: &str) -> Option<(Process, SocketAddr)> {
    let process = Process::start(venv::python("aiocoap_server.py")?.arg(dir), &dir.join(log));
    let port: u16 = eventually("aiocoap's port", PATIENCE * 3, || {
        process.log().lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
    });
    Some((process, SocketAddr::from(([127, 0, 0, 1], port))))
}

fn our_client_and_an_aiocoap_server(algorithm: (Algorithm, &str)) {
    let dir = tempfile::tempdir().unwrap();
    write_settings(dir.path(), algorithm, SERVER_ID, CLIENT_ID);
    let Some((mut process, server)) = start_server(dir.path(), "first.log") else { return };
    let mut client = Client::new(algorithm.0);

    let (wire, binding) = client.request(Code::POST, b"l", None, b"one");
    let answer = client.exchange(server, &wire, PATIENCE).expect("an answer");
    let reply = client.read(&binding, &answer);
    assert_eq!((reply.code, &reply.payload[..], reply.own_partial_iv), (Code::CHANGED, &b"ok:one"[..], None));
    let reply = client.call(server, Code::GET, b"s", None, b"");
    assert_eq!((reply.code, &reply.payload[..]), (Code::CONTENT, &b"locked"[..]));
    assert_eq!(client.call(server, Code::GET, b"x", None, b"").code, Code::NOT_FOUND);

    // aiocoap agrees on what is no message of ours: the same one again, and one with a changed bit.
    let mut replay = wire.clone();
    (replay[2], replay[3]) = (0xee, 0xee); // another Message ID, or CoAP's own deduplication would answer
    assert!(client.exchange(server, &replay, SILENCE).is_none(), "a replay was answered");
    let (mut forged, _) = client.request(Code::POST, b"l", None, b"two");
    *forged.last_mut().unwrap() ^= 1;
    assert!(client.exchange(server, &forged, SILENCE).is_none(), "a forgery was answered");

    // Killed, the server has no replay window any more and asks for a proof of freshness (RFC 8613 appendix B.1.2).
    process.kill();
    let (_process, server) = start_server(dir.path(), "second.log").unwrap();
    let reply = client.call(server, Code::POST, b"l", None, b"three");
    assert_eq!(reply.code, Code::UNAUTHORIZED);
    assert!(reply.own_partial_iv.is_some(), "the challenge may answer a replay, so it has its own nonce");
    let value = reply.echo.expect("an Echo value");
    let reply = client.call(server, Code::POST, b"l", Some(&value), b"three");
    assert_eq!((reply.code, &reply.payload[..]), (Code::CHANGED, &b"ok:three"[..]));
    let reply = client.call(server, Code::POST, b"l", None, b"four");
    assert_eq!((reply.code, &reply.payload[..]), (Code::CHANGED, &b"ok:four"[..]));
    assert!(
        client.exchange(server, &wire, SILENCE).is_none(),
        "a message from before the restart was answered"
    );
}

#[test]
fn our_client_and_an_aiocoap_server_aes_ccm() {
    our_client_and_an_aiocoap_server(ALGORITHMS[0]);
}

#[test]
fn our_client_and_an_aiocoap_server_chacha20() {
    our_client_and_an_aiocoap_server(ALGORITHMS[1]);
}

// ---------------------------------------------------------------------------------------------- our server

struct Server {
    context: Context,
    sequence: SenderSequence,
    window: Option<Window>,
    challenges: usize,
    served: usize,
}

const ECHO: [u8; 8] = *b"fresh-01";

impl Server {
    fn new(algorithm: Algorithm) -> Self {
        let mut sequence = SenderSequence::new(0);
        sequence.reserved(64).unwrap();
        let context = context(algorithm, SERVER_ID, CLIENT_ID);
        Self { context, sequence, window: None, challenges: 0, served: 0 }
    }

    /// The answer to one datagram, if it gets one.
    fn handle(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let outer = Message::parse(datagram).ok()?;
        let matches = OscoreOption::of(&outer).is_ok_and(|option| self.context.matches(&option));
        assert!(matches, "aiocoap names our context");
        let mut out = vec![0; datagram.len()];
        let (len, mut binding) = self.context.unprotect_request(datagram, &mut out).unwrap();
        let request = Message::parse(&out[..len]).unwrap();
        let number = binding.partial_iv();
        // A retransmission by CoAP is a replay to OSCORE; its first copy was answered.
        let fresh = match &mut self.window {
            Some(window) => {
                window.commit(number).ok()?;
                true
            }
            None if echo::proves_freshness(&request, &ECHO) => {
                self.window = Some(Window::after_echo(number).unwrap());
                true
            }
            None => false,
        };
        let (code, payload, own) = if fresh {
            self.served += 1;
            assert_eq!((request.code(), request.path().next()), (Code::POST, Some(&b"l"[..])));
            // Every other response takes a number of its own, which aiocoap must understand as well.
            let own = self.served.is_multiple_of(2).then(|| self.sequence.take().unwrap());
            (Code::CHANGED, [b"done:", request.payload()].concat(), own)
        } else {
            self.challenges += 1;
            (Code::UNAUTHORIZED, Vec::new(), Some(self.sequence.take().unwrap()))
        };
        let mut plain = [0; 256];
        let kind =
            if request.kind() == Type::Confirmable { Type::Acknowledgement } else { Type::NonConfirmable };
        let mut builder =
            Builder::new(&mut plain, kind, code, request.message_id(), request.token()).unwrap();
        if !fresh {
            builder = builder.option(option::ECHO, &ECHO).unwrap();
        }
        let len = builder.payload(&payload).unwrap();
        let mut wire = [0; 256];
        let len = self.context.protect_response(&mut binding, own, &plain[..len], &mut wire).unwrap();
        Some(wire[..len].to_vec())
    }
}

fn an_aiocoap_client_and_our_server(algorithm: (Algorithm, &str)) {
    const REQUESTS: usize = 5;
    let dir = tempfile::tempdir().unwrap();
    write_settings(dir.path(), algorithm, CLIENT_ID, SERVER_ID);
    let Some(mut command) = venv::python("aiocoap_client.py") else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    command.arg(dir.path()).arg(socket.local_addr().unwrap().port().to_string()).arg(REQUESTS.to_string());
    let mut client = Process::start(&mut command, &dir.path().join("client.log"));

    let mut server = Server::new(algorithm.0);
    let mut lost_again = false;
    eventually("aiocoap's requests", PATIENCE * 3, || {
        let mut buffer = [0; 2048];
        if let Ok((len, from)) = socket.recv_from(&mut buffer)
            && let Some(answer) = server.handle(&buffer[..len])
        {
            socket.send_to(&answer, from).unwrap();
        }
        if server.served == 3 && !lost_again {
            server.window = None; // restarted without its window
            lost_again = true;
        }
        client.ended().then_some(())
    });
    let expected: String = (0..REQUESTS).map(|number| format!("2.04 Changed done:{number}\n")).collect();
    assert_eq!(client.log(), expected);
    assert_eq!((server.served, server.challenges), (REQUESTS, 2));
    assert_eq!(server.context.failed_tags(), 0);
}

#[test]
fn an_aiocoap_client_and_our_server_aes_ccm() {
    an_aiocoap_client_and_our_server(ALGORITHMS[0]);
}

#[test]
fn an_aiocoap_client_and_our_server_chacha20() {
    an_aiocoap_client_and_our_server(ALGORITHMS[1]);
}
