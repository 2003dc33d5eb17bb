//! A tool that onboards: our own DTLS and CoAP machines, driven by hand over a real socket.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use freshen::clock;
use freshen::coap::{self, Call, Code, Peer, Reception, Request, Response};
use freshen::dtls::{
    ClientPolicy, Config, Endpoint, Error, Output, Path, PeerIdentity, SessionId, SessionInfo,
};

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a turn lasts when nothing happens.
const POLL: Duration = Duration::from_millis(20);

/// One peer, in clear until it connects.
pub(crate) struct Tool {
    socket: UdpSocket,
    remote: SocketAddr,
    dtls: Endpoint,
    coap: coap::Endpoint,
    pub(crate) session: Option<(SessionId, SessionInfo)>,
    failure: Option<Error>,
    closed: bool,
    responses: Vec<(Call, Response)>,
    /// The handshake message that is not sent yet, nor what comes after it.
    stalls_at: Option<u8>,
    held: Vec<Vec<u8>>,
}

impl Tool {
    /// For a device's address, in clear or secure.
    pub(crate) fn new(remote: &str) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            remote: remote.parse().unwrap(),
            dtls: Endpoint::new(Config::default(), seed),
            coap: coap::Endpoint::new(
                coap::Config { options_known: vec![2049, 2053], ..coap::Config::default() },
                seed,
            ),
            session: None,
            failure: None,
            closed: false,
            responses: vec![],
            stalls_at: None,
            held: vec![],
        }
    }

    /// Begins a handshake and stops before this message of ours (RFC 5246 section 7.4), until
    /// [`Self::go_on`].
    pub(crate) fn stall(remote: &str, policy: ClientPolicy, message: u8) -> Self {
        let mut tool = Self::new(remote);
        tool.stalls_at = Some(message);
        let path = Path { remote: tool.remote, socket: 0 };
        tool.dtls.connect(path, policy, clock::now()).unwrap();
        tool.until("its turn to speak", |tool| !tool.held.is_empty());
        tool
    }

    /// Says what was held back.
    pub(crate) fn go_on(&mut self) {
        self.stalls_at = None;
        for bytes in std::mem::take(&mut self.held) {
            self.socket.send_to(&bytes, self.remote).unwrap();
        }
    }

    /// What becomes of the handshake.
    pub(crate) fn connected(&mut self) -> Result<(), Error> {
        self.until("a session", |tool| tool.session.is_some() || tool.failure.is_some());
        self.failure.take().map_or(Ok(()), Err)
    }

    /// What came that nobody has looked at.
    pub(crate) fn payloads(&self) -> Vec<Vec<u8>> {
        self.responses.iter().map(|(_, response)| response.payload.clone()).collect()
    }

    /// Whether its session has ended, or is good for nothing any more.
    pub(crate) fn is_cut_off(&mut self, path: &str) -> bool {
        let call = self.coap.request(self.peer(), Request::new(Code::GET, path), clock::now().mono);
        let answer = |tool: &Self| tool.responses.iter().position(|(other, _)| *other == call);
        self.until("an answer or an end", |tool| tool.closed || answer(tool).is_some());
        answer(self).is_none_or(|at| self.responses[at].1.code == Code::UNAUTHORIZED)
    }

    pub(crate) fn connect(remote: &str, policy: ClientPolicy) -> Result<Self, Error> {
        let mut tool = Self::new(remote);
        let path = Path { remote: tool.remote, socket: 0 };
        tool.dtls.connect(path, policy, clock::now()).unwrap();
        tool.until("a session", |tool| tool.session.is_some() || tool.failure.is_some());
        match tool.failure.take() {
            Some(error) => Err(error),
            None => Ok(tool),
        }
    }

    pub(crate) fn ask(&mut self, request: Request) -> Response {
        let call = self.coap.request(self.peer(), request, clock::now().mono);
        let mut answer = None;
        self.until("an answer", |tool| {
            let at = tool.responses.iter().position(|(other, _)| *other == call);
            answer = at.map(|at| tool.responses.remove(at).1);
            answer.is_some()
        });
        answer.unwrap()
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<serde_json::Value, Code> {
        let mut request = Request::new(Code::GET, path);
        request.options.set_uint(coap::option::ACCEPT, 10000);
        let response = self.ask(request);
        match response.code {
            Code::CONTENT => Ok(ciborium::from_reader(&*response.payload).unwrap()),
            code => Err(code),
        }
    }

    pub(crate) fn post(&mut self, path: &str, body: &ciborium::Value) -> Code {
        let mut request = Request::new(Code::POST, path);
        request.options.set_uint(coap::option::CONTENT_FORMAT, 10000);
        ciborium::into_writer(body, &mut request.payload).unwrap();
        self.ask(request).code
    }

    /// Watches a resource; the answers come by [`Self::told`].
    pub(crate) fn watch(&mut self, path: &str) -> Call {
        let mut request = Request::new(Code::GET, path);
        request.options.set_uint(coap::option::OBSERVE, 0);
        self.coap.request(self.peer(), request, clock::now().mono)
    }

    pub(crate) fn told(&mut self, call: Call) -> Code {
        let mut code = None;
        self.until("a notification", |tool| {
            let at = tool.responses.iter().position(|(other, _)| *other == call);
            code = at.map(|at| tool.responses.remove(at).1.code);
            code.is_some()
        });
        code.unwrap()
    }

    pub(crate) fn wait_until_closed(&mut self) {
        self.until("the end of the session", |tool| tool.closed);
    }

    pub(crate) fn close(mut self) {
        if let Some((session, _)) = self.session.take() {
            self.dtls.close(session, clock::now());
            self.flush();
        }
    }

    fn peer(&self) -> Peer {
        let session = self.session.as_ref().map_or(0, |(session, _)| session.get());
        Peer { remote: self.remote, socket: 0, session }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = clock::now().mono;
        while clock::now().mono - start < PATIENCE {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("{what} did not come");
    }

    fn turn(&mut self) {
        self.flush();
        self.socket.set_read_timeout(Some(POLL)).unwrap();
        let mut datagram = [0; 65_536];
        let peer = self.peer();
        if let Ok((length, remote)) = self.socket.recv_from(&mut datagram) {
            let now = clock::now();
            if peer.session == 0 && datagram[0] >> 6 == 1 {
                let bytes = &datagram[..length];
                self.coap.handle_datagram(peer, Reception::Unicast, bytes, now.mono);
            } else {
                let path = Path { remote, socket: 0 };
                self.dtls.handle_datagram(path, &datagram[..length], now);
            }
        }
        let now = clock::now();
        self.dtls.handle_timeout(now);
        self.coap.handle_timeout(now.mono);
        self.flush();
    }

    /// Whether this has to wait. A handshake message says what it is after the header of its record.
    fn holds(&self, datagram: &[u8]) -> bool {
        self.stalls_at.is_some_and(|message| {
            !self.held.is_empty() || (datagram[0], datagram[13]) == (22, message)
        })
    }

    fn flush(&mut self) {
        let now = clock::now();
        while let Some(output) = self.coap.poll_output() {
            match output {
                coap::Output::Datagram { peer, bytes } if peer.session == 0 => {
                    self.socket.send_to(&bytes, peer.remote).unwrap();
                }
                coap::Output::Datagram { peer, bytes } => {
                    let session = SessionId::new(peer.session).unwrap();
                    let _ = self.dtls.send(session, &bytes, now);
                }
                coap::Output::Response { call, response, .. } => {
                    self.responses.push((call, response));
                }
                _ => {}
            }
        }
        while let Some(output) = self.dtls.poll_output() {
            match output {
                Output::Datagram { bytes, .. } if self.holds(&bytes) => self.held.push(bytes),
                Output::Datagram { bytes, .. } => {
                    self.socket.send_to(&bytes, self.remote).unwrap();
                }
                Output::Connected { session, info, .. } => {
                    assert_ne!(info.peer, PeerIdentity::Psk(vec![]));
                    self.session = Some((session, info));
                }
                Output::Data { bytes, .. } => {
                    let peer = self.peer();
                    self.coap.handle_datagram(peer, Reception::Unicast, &bytes, now.mono);
                }
                Output::Closed { .. } => self.closed = true,
                Output::HandshakeFailed { reason, .. } => self.failure = Some(reason),
            }
        }
    }

    /// The owner's key, as the tool derives it.
    pub(crate) fn owner_key(
        &mut self,
        transfer: freshen::dtls::OwnerTransfer,
        owner: uuid::Uuid,
        device: uuid::Uuid,
    ) -> Vec<u8> {
        let (session, _) = self.session.as_ref().unwrap();
        let secrets = self.dtls.secrets(*session).unwrap();
        let key = freshen::dtls::owner_psk(&secrets, transfer, owner.as_bytes(), device.as_bytes());
        key.unwrap().to_vec()
    }
}
