//! SRV records (RFC 2782), which the resolver of the system does not give: asked of its name servers
//! over UDP, and over TCP where an answer is too long for that (RFC 7766).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE, rdata::RData};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// What the system asks.
const SYSTEM: &str = "/etc/resolv.conf";

/// Name servers asked at most, as the system's resolver does.
const SERVERS: usize = 3;

/// For one question to one server.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each server is asked.
const TRIES: usize = 2;

/// Records taken of one name: no carrier lists as many.
const RECORDS: usize = 32;

/// Bytes of a datagram without extensions (RFC 1035 §2.3.4), with room for who sends more.
const DATAGRAM: usize = 4_096;

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Lower is asked first.
    pub priority: u16,
    /// Share among equals.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Host name.
    pub target: String,
}

/// The name servers to ask.
#[derive(Debug, Clone)]
pub struct Dns {
    servers: Vec<SocketAddr>,
}

impl Dns {
    /// Those of `/etc/resolv.conf`; the local host where it names none.
    pub fn of_system() -> Self {
        Self::new(name_servers(&std::fs::read_to_string(SYSTEM).unwrap_or_default()))
    }

    /// These.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// The records of an SRV name, as they stand in the answer: none where the name has none. The
    /// error says what the last server did.
    pub async fn services(&self, name: &str) -> Result<Vec<Record>, String> {
        let mut last = "no name server is known".to_owned();
        for _ in 0..TRIES {
            for server in self.servers.iter().take(SERVERS) {
                match timeout(PATIENCE, ask(*server, name)).await {
                    Ok(Ok(records)) => return Ok(records),
                    Ok(Err(error)) => last = format!("{server}: {error}"),
                    Err(_) => last = format!("{server}: no answer within 2 s"),
                }
            }
        }
        Err(last)
    }
}

fn name_servers(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        address.parse::<IpAddr>().ok()
    });
    let servers: Vec<SocketAddr> = addresses.map(|ip| SocketAddr::new(ip, 53)).collect();
    match servers.is_empty() {
        true => vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 53)],
        false => servers,
    }
}

async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<Record>> {
    let id = rand::random();
    let query = question(id, name)?;
    let answer = over_udp(server, &query, id, name).await?;
    match read(&answer, id, name)? {
        Some(records) => Ok(records),
        None => {
            let answer = over_tcp(server, &query).await?;
            read(&answer, id, name)?.ok_or_else(|| wrong("its answer is cut off"))
        }
    }
}

fn wrong(what: impl std::fmt::Display) -> io::Error {
    io::Error::other(what.to_string())
}

fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(wrong)?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::SRV), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(wrong)
}

/// Answers to something else, and whoever guesses, are passed over until the time is up.
async fn over_udp(server: SocketAddr, query: &[u8], id: u16, name: &str) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0_u16; 8]),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let data = buffer.get(..length).unwrap_or_default();
        if Packet::parse(data).is_ok_and(|answer| is_answer(&answer, id, name)) {
            return Ok(data.to_vec());
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(wrong)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn is_answer(answer: &Packet<'_>, id: u16, name: &str) -> bool {
    let asked = answer.questions.first().map(|question| question.qname.to_string());
    answer.id() == id
        && answer.has_flags(PacketFlag::RESPONSE)
        && asked.is_some_and(|asked| asked.eq_ignore_ascii_case(name))
}

/// `None`: the answer is cut off. A name that does not exist has no records.
fn read(data: &[u8], id: u16, name: &str) -> io::Result<Option<Vec<Record>>> {
    let answer = Packet::parse(data).map_err(wrong)?;
    if !is_answer(&answer, id, name) {
        return Err(wrong("it answers something else"));
    }
    if answer.has_flags(PacketFlag::TRUNCATION) {
        return Ok(None);
    }
    let code = answer.rcode();
    if !matches!(code, RCODE::NoError | RCODE::NameError) {
        return Err(wrong(format!("it says {code:?}")));
    }
    let records = answer.answers.iter().filter_map(|record| {
        let RData::SRV(srv) = &record.rdata else { return None };
        let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
        Some(Record { priority, weight, port, target: srv.target.to_string() })
    });
    Ok(Some(records.take(RECORDS).collect()))
}

#[cfg(test)]
mod tests {
    use simple_dns::{ResourceRecord, rdata::SRV};

    use super::*;

    const NAME: &str = "_sip._udp.pstn.example";

    fn record(priority: u16, port: u16, target: &str) -> Record {
        Record { priority, weight: 5, port, target: target.to_owned() }
    }

    /// An answer to a query with these records.
    fn answer(query: &[u8], records: &[Record], change: impl Fn(&mut Packet<'_>)) -> Vec<u8> {
        let query = Packet::parse(query).unwrap();
        let mut packet = Packet::new_reply(query.id());
        packet.questions = query.questions.clone();
        for Record { priority, weight, port, target } in records {
            let target = Name::new(target).unwrap();
            let srv = SRV { priority: *priority, weight: *weight, port: *port, target };
            let name = Name::new(NAME).unwrap();
            packet.answers.push(ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(srv)));
        }
        change(&mut packet);
        packet.build_bytes_vec().unwrap()
    }

    /// A name server that answers over UDP in its own way, and over TCP with all.
    async fn server(udp: fn(&[u8]) -> Vec<Vec<u8>>, all: Vec<Record>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                for data in udp(&buffer[..length]) {
                    socket.send_to(&data, peer).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let data = answer(&query, &all, |_| ());
            stream.write_u16(data.len() as u16).await.unwrap();
            stream.write_all(&data).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn records_are_read_and_what_is_no_answer_is_passed_over() {
        let address = server(
            |query| {
                let foreign = question(7, "_sip._udp.other.example").unwrap();
                let forged = answer(&foreign, &[record(1, 1, "evil.example")], |_| ());
                let records = [record(10, 5060, "a.example"), record(20, 5070, "b.example")];
                vec![b"noise".to_vec(), forged, answer(query, &records, |_| ())]
            },
            Vec::new(),
        )
        .await;
        let found = Dns::new(vec![address]).services(NAME).await.unwrap();
        assert_eq!(found, [record(10, 5060, "a.example"), record(20, 5070, "b.example")]);
    }

    #[tokio::test]
    async fn what_is_cut_off_comes_over_tcp() {
        let cut = |query: &[u8]| {
            vec![answer(query, &[], |packet| packet.set_flags(PacketFlag::TRUNCATION))]
        };
        let all = vec![record(1, 5060, "a.example"); 30];
        let address = server(cut, all.clone()).await;
        assert_eq!(Dns::new(vec![address]).services(NAME).await.unwrap(), all);
    }

    #[tokio::test]
    async fn a_server_that_fails_gives_way_to_the_next() {
        let fails = |query: &[u8]| {
            vec![answer(query, &[], |packet| *packet.rcode_mut() = RCODE::ServerFailure)]
        };
        let none = |query: &[u8]| {
            vec![answer(query, &[], |packet| *packet.rcode_mut() = RCODE::NameError)]
        };
        let (first, second) = (server(fails, Vec::new()).await, server(none, Vec::new()).await);
        assert_eq!(Dns::new(vec![first, second]).services(NAME).await.unwrap(), []);
        let error = Dns::new(vec![first]).services(NAME).await.unwrap_err();
        assert!(error.contains("ServerFailure"), "{error}");
        assert!(Dns::new(Vec::new()).services(NAME).await.is_err());
    }

    #[test]
    fn name_servers_are_the_systems() {
        let text =
            "# comment\nsearch example\nnameserver 192.0.2.53\nnameserver 2001:db8::53 # x\n";
        let found: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert_eq!(name_servers("")[0].to_string(), "127.0.0.1:53");
    }
}
