//! Looks up the records of one name at the servers of `/etc/resolv.conf`, as Prometheus does.
//!
//! ```text
//!  candidate names in turn, for each of them servers in turn:
//!    query over UDP --response--> done, or the next candidate where the name does not exist
//!        |   +---truncated--> query over TCP --response--^
//!        +---error, no response in time--> next server
//! ```
//! One query is in flight. A response counts only from the server that was asked, to the query's number and question.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use otelcore_pipeline::{Cx, DatagramSocket, LogField, Logger, MonotonicTime, PeerAddr, Stream};

use super::message::{NAME_ERROR, QueryType, Record, Response, SUCCESS, UDP_SIZE, parse, query};

/// The longest time of one query.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most servers and domains of the file that are used, as in the C library.
const MAX_SERVERS: usize = 3;
const MAX_DOMAINS: usize = 6;
/// Datagrams that are read in one turn.
const MAX_DATAGRAMS: usize = 16;

const PORT: u16 = 53;

/// What `/etc/resolv.conf` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResolverConfig {
    servers: Vec<IpAddr>,
    domains: Vec<String>,
    /// A name with as many dots is tried before the domains.
    dots: usize,
}

impl ResolverConfig {
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Self { servers: Vec::new(), domains: Vec::new(), dots: 1 };
        for line in text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default()) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    config.servers.extend(words.next().and_then(|server| server.parse::<IpAddr>().ok()))
                }
                Some("domain") => config.domains = words.take(1).map(str::to_owned).collect(),
                Some("search") => config.domains = words.map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    config.dots = dots.map_or(config.dots, |dots: usize| dots.min(15));
                }
                _ => {}
            }
        }
        config.servers.truncate(MAX_SERVERS);
        config.domains.truncate(MAX_DOMAINS);
        config
    }

    /// The names that are tried, with a dot at their ends.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let own = format!("{name}.");
        let of_domains = self.domains.iter().map(|domain| format!("{own}{}.", domain.trim_matches('.')));
        let is_first = own.matches('.').count() > self.dots;
        let mut names: Vec<String> = of_domains.collect();
        names.insert(if is_first { 0 } else { names.len() }, own);
        names
    }
}

enum Connection {
    Udp(Box<dyn DatagramSocket>),
    /// What is left to write, and what has been read.
    Tcp(Box<dyn Stream>, Vec<u8>, Vec<u8>),
}

/// The result: records, or why there are none.
pub(crate) type LookupResult = Result<Vec<Record>, String>;

/// A look-up in progress. It uses one local key of the component.
pub(crate) struct Lookup {
    name: String,
    query_type: QueryType,
    servers: Vec<IpAddr>,
    candidates: Vec<String>,
    candidate: usize,
    server: usize,
    /// No server has said of an earlier candidate that it does not exist.
    has_failed: bool,
    id: u16,
    connection: Option<Connection>,
    /// When the query in flight has had no response in time.
    pub(crate) deadline: MonotonicTime,
    local: u64,
}

impl Lookup {
    /// Begins a look-up; `Err` is its result.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        name: &str,
        query_type: QueryType,
        config: &ResolverConfig,
        local: u64,
        log: &Logger,
    ) -> Result<Self, LookupResult> {
        let mut lookup = Self {
            name: name.to_owned(),
            query_type,
            servers: config.servers.clone(),
            candidates: config.candidates(name),
            candidate: 0,
            server: 0,
            has_failed: false,
            id: 0,
            connection: None,
            deadline: MonotonicTime::NEVER,
            local,
        };
        match lookup.send(cx, log) {
            None => Ok(lookup),
            Some(result) => Err(result),
        }
    }

    /// Sends the query of the present candidate to the present server, or to the next ones if that fails at once.
    fn send(&mut self, cx: &mut Cx<'_>, log: &Logger) -> Option<LookupResult> {
        loop {
            self.connection = None;
            let Some(candidate) = self.candidates.get(self.candidate) else { return Some(self.end()) };
            let Some(server) = self.servers.get(self.server).copied() else {
                (self.has_failed, self.server) = (true, 0);
                self.candidate += 1;
                continue;
            };
            #[expect(clippy::cast_possible_truncation, reason = "some of the bits")]
            let id = cx.random() as u16;
            self.id = id;
            let Some(message) = query(id, candidate, self.query_type, true) else {
                (self.has_failed, self.server) = (true, 0);
                self.candidate += 1;
                continue;
            };
            let host = if server.is_ipv4() { "0.0.0.0" } else { "::" };
            let sent = cx.bind_udp(self.local, host, 0).and_then(|mut socket| {
                socket.send_to(&message, SocketAddr::new(server, PORT))?;
                Ok(socket)
            });
            match sent {
                Ok(socket) => {
                    self.connection = Some(Connection::Udp(socket));
                    self.deadline = cx.now() + TIMEOUT;
                    return None;
                }
                Err(error) => self.next_server(log, &error.to_string()),
            }
        }
    }

    fn next_server(&mut self, log: &Logger, error: &str) {
        let server = self.servers.get(self.server).map(IpAddr::to_string).unwrap_or_default();
        let name = self.candidates.get(self.candidate).map_or("", String::as_str);
        let fields = [("server", LogField::Str(&server)), ("name", LogField::Str(name)), ("err", LogField::Str(error))];
        log.debug("DNS resolution failed", &fields);
        self.server += 1;
    }

    /// No candidate has records.
    fn end(&self) -> LookupResult {
        if !self.has_failed {
            return Ok(Vec::new());
        }
        let why = "all servers responded with errors to at least one search domain";
        Err(format!("could not resolve {:?}: {why}", self.name))
    }

    /// Handles an event under its key, or that its deadline has passed. The result, when there is one.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>, log: &Logger) -> Option<LookupResult> {
        match self.read(cx) {
            Ok(Some(response)) => self.handle_response(cx, response, log),
            Ok(None) if cx.now() < self.deadline => None,
            Ok(None) => {
                self.next_server(log, "i/o timeout");
                self.send(cx, log)
            }
            Err(error) => {
                self.next_server(log, &error);
                self.send(cx, log)
            }
        }
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, response: Response, log: &Logger) -> Option<LookupResult> {
        if response.is_truncated && matches!(self.connection, Some(Connection::Udp(_))) {
            return match self.connect(cx) {
                Ok(()) => None,
                Err(error) => {
                    self.next_server(log, &error);
                    self.send(cx, log)
                }
            };
        }
        match response.code {
            SUCCESS => Some(Ok(response.records)),
            NAME_ERROR => {
                (self.candidate, self.server) = (self.candidate + 1, 0);
                self.send(cx, log)
            }
            code => {
                self.next_server(log, &format!("the server answered with the code {code}"));
                self.send(cx, log)
            }
        }
    }

    /// Asks the same server over TCP.
    fn connect(&mut self, cx: &mut Cx<'_>) -> Result<(), String> {
        let (server, candidate) = (self.servers.get(self.server), self.candidates.get(self.candidate));
        let (Some(server), Some(candidate)) = (server, candidate) else { return Err("no server".to_owned()) };
        let message = query(self.id, candidate, self.query_type, false).ok_or("no name")?;
        let length = u16::try_from(message.len()).map_err(|_| "no name")?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(message);
        self.connection = None;
        let peer = PeerAddr::Ip(SocketAddr::new(*server, PORT));
        let stream = cx.connect(self.local, &peer).map_err(|error| error.to_string())?;
        self.connection = Some(Connection::Tcp(stream, framed, Vec::new()));
        self.deadline = cx.now() + TIMEOUT;
        Ok(())
    }

    /// The response, if it has arrived.
    fn read(&mut self, cx: &mut Cx<'_>) -> Result<Option<Response>, String> {
        let server = self.servers.get(self.server).copied();
        let candidate = self.candidates.get(self.candidate).map_or("", String::as_str);
        match &mut self.connection {
            None => Ok(None),
            Some(Connection::Udp(socket)) => {
                let mut buffer = vec![0; usize::from(UDP_SIZE)];
                for _ in 0..MAX_DATAGRAMS {
                    match socket.recv_from(&mut buffer) {
                        Ok((length, sender)) => {
                            let message = buffer.get(..length).unwrap_or_default();
                            let is_of_server = Some(sender.ip().to_canonical()) == server && sender.port() == PORT;
                            let response = parse(message, self.id, candidate, self.query_type);
                            if is_of_server && response.is_some() {
                                return Ok(response);
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                        Err(error) => return Err(error.to_string()),
                    }
                }
                cx.request_ready(self.local);
                Ok(None)
            }
            Some(Connection::Tcp(stream, unsent, read)) => {
                while !unsent.is_empty() {
                    match stream.write(unsent) {
                        Ok(count) => drop(unsent.drain(..count.min(unsent.len()))),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                        Err(error) => return Err(error.to_string()),
                    }
                }
                match stream.flush() {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.to_string()),
                    _ => {}
                }
                let mut part = [0; 4096];
                loop {
                    if let Some((length, message)) = read.split_first_chunk::<2>()
                        && let Some(message) = message.get(..usize::from(u16::from_be_bytes(*length)))
                    {
                        let response = parse(message, self.id, candidate, self.query_type);
                        return response.map(Some).ok_or_else(|| "the response is not valid".to_owned());
                    }
                    match stream.read(&mut part) {
                        Ok(0) => return Err("EOF".to_owned()),
                        Ok(count) => read.extend_from_slice(part.get(..count).unwrap_or_default()),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                        Err(error) => return Err(error.to_string()),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_in_the_order_of_the_file() {
        let config = ResolverConfig::parse(
            "# c\nnameserver 10.0.0.10\nnameserver fd00::1\nnameserver x\nsearch a.example b.example.\noptions ndots:2 timeout:1\n",
        );
        assert_eq!(config.servers.len(), 2);
        assert_eq!(config.candidates("x.y"), ["x.y.a.example.", "x.y.b.example.", "x.y."]);
        assert_eq!(config.candidates("x.y.z"), ["x.y.z.", "x.y.z.a.example.", "x.y.z.b.example."]);
        assert_eq!(config.candidates("x."), ["x."]);
    }
}
