use std::time::Duration;

use super::*;

fn loopback(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// Waits until `sockets` have a batch with something in it.
async fn receive(sockets: &mut Sockets, inbox: &mut Inbox) {
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            sockets.flush();
            if sockets.receive(inbox) && (inbox.arrivals().count() > 0 || inbox.failure().is_some())
            {
                return;
            }
            sockets.ready().await;
        }
    })
    .await
    .expect("something comes");
}

/// Sends everything that came back where it came from; how many.
fn echo(sockets: &mut Sockets, inbox: &Inbox) -> usize {
    for arrival in inbox.arrivals() {
        sockets.send(arrival.path, arrival.remote, arrival.bytes.to_vec());
    }
    sockets.flush();
    inbox.arrivals().count()
}

#[tokio::test]
async fn an_answer_leaves_from_the_address_that_was_asked() {
    let mut server = Sockets::new();
    let v4 = server.listen(loopback("0.0.0.0:0"), Service::Clear).unwrap();
    let v6 = server.listen(loopback("[::]:0"), Service::Secure).unwrap();
    let mut inbox = Inbox::new();
    for (target, bind, service) in [
        (SocketAddr::from(([127, 0, 0, 1], v4.port())), "127.0.0.1:0", Service::Clear),
        (SocketAddr::from(([127, 5, 6, 7], v4.port())), "127.0.0.1:0", Service::Clear),
        (SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port())), "[::1]:0", Service::Secure),
    ] {
        let client = tokio::net::UdpSocket::bind(bind).await.unwrap();
        client.send_to(b"hello", target).await.unwrap();
        receive(&mut server, &mut inbox).await;
        {
            let arrival = inbox.arrivals().next().unwrap();
            assert_eq!((arrival.bytes, arrival.service), (&b"hello"[..], service));
            assert_eq!(arrival.remote, client.local_addr().unwrap());
            assert!(!arrival.multicast && arrival.interface > 0);
        }
        assert_eq!(echo(&mut server, &inbox), 1);
        let mut buffer = [0; 16];
        let answered = tokio::time::timeout(Duration::from_secs(10), client.recv_from(&mut buffer));
        assert_eq!(answered.await.unwrap().unwrap(), (5, target));
    }
    assert_eq!(server.counts(), Counts::default());
}

#[tokio::test]
async fn many_datagrams_of_many_clients_all_come_back() {
    let mut server = Sockets::new();
    let at = server.listen(loopback("127.0.0.1:0"), Service::Clear).unwrap();
    let mut clients = Sockets::new();
    let paths: Vec<Path> = (0..20).map(|_| clients.ask(at).unwrap()).collect();
    for n in 0..50u8 {
        for path in &paths {
            clients.send(*path, at, vec![n; usize::from(n) + 1]);
        }
    }
    let (mut inbox, mut served, mut back) = (Inbox::new(), 0, 0);
    clients.ready().await;
    while served < 1000 {
        clients.flush();
        receive(&mut server, &mut inbox).await;
        served += echo(&mut server, &inbox);
    }
    while back < 1000 {
        server.flush();
        receive(&mut clients, &mut inbox).await;
        for arrival in inbox.arrivals() {
            assert!(paths.contains(&arrival.path));
            assert_eq!(arrival.bytes.len(), usize::from(arrival.bytes[0]) + 1);
            back += 1;
        }
    }
    assert_eq!((server.counts(), clients.counts()), Default::default());
}

/// Trains of equal length and strays between them, to two clients, from a socket of one address and
/// from those of many.
async fn send_trains() -> Vec<Sockets> {
    let mut servers = Vec::new();
    for (bind, to) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.5.6.7"), ("[::]:0", "::1")]
    {
        let bound = [0, 1].map(|_| std::net::UdpSocket::bind((to, 0)));
        let [Ok(one), Ok(other)] = bound else {
            println!("NOT TESTED: {to} is no address here");
            continue;
        };
        let clients = [one, other];
        let mut server = Sockets::new();
        let port = server.listen(loopback(bind), Service::Clear).unwrap().port();
        let (mut inbox, mut ways) = (Inbox::new(), Vec::new());
        for client in &clients {
            client.send_to(b"here", (to, port)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            receive(&mut server, &mut inbox).await;
            ways.extend(inbox.arrivals().map(|arrival| (arrival.path, arrival.remote)));
        }
        let trains =
            (0..18).map(|n| vec![n; [1000, 1000, 1000, 1000, 7, 1300][usize::from(n % 6)]]);
        let trains: Vec<Vec<u8>> = trains.collect();
        for bytes in &trains {
            for (path, remote) in &ways {
                server.send(*path, *remote, bytes.clone());
                server.send(*path, *remote, bytes.clone());
            }
        }
        while !server.sockets[0].queue.is_empty() {
            server.ready().await;
            server.flush();
        }
        for client in &clients {
            for bytes in trains.iter().flat_map(|bytes| [bytes, bytes]) {
                let mut buffer = [0; DATAGRAM_BYTES_MAX];
                let (length, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], from.ip()), (&bytes[..], to.parse().unwrap()));
            }
        }
        assert_eq!(server.counts(), Counts::default());
        servers.push(server);
    }
    servers
}

#[tokio::test]
async fn trains_arrive_as_the_datagrams_they_are_made_of() {
    for server in send_trains().await {
        assert!(server.sockets[0].cuts, "this kernel cuts nothing");
    }
}

/// Started by the test below, where the loopback interface takes 600 bytes at a time.
#[tokio::test]
#[ignore = "started by another test"]
async fn in_a_small_world() {
    for server in send_trains().await {
        assert!(!server.sockets[0].cuts);
    }
}

#[test]
fn where_trains_do_not_fit_datagrams_go_one_by_one() {
    let myself = std::env::current_exe().unwrap();
    let script = "ip link set lo mtu 600 up && exec \"$0\" --ignored --exact \
                  net::tests::in_a_small_world";
    let mut world = std::process::Command::new("unshare");
    let world = world.args(["--net", "sh", "-c", script]).arg(myself).output().unwrap();
    let said = String::from_utf8_lossy(&world.stdout) + String::from_utf8_lossy(&world.stderr);
    if said.contains("unshare failed") {
        return println!("NOT TESTED: no right to make a network namespace");
    }
    assert!(world.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn too_long_a_datagram_is_dropped_and_counted() {
    let mut server = Sockets::new();
    let at = server.listen(loopback("127.0.0.1:0"), Service::Clear).unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&[0; DATAGRAM_BYTES_MAX + 1], at).unwrap();
    client.send_to(&[7; DATAGRAM_BYTES_MAX], at).unwrap();
    client.send_to(&[], at).unwrap();
    let (mut inbox, mut lengths) = (Inbox::new(), Vec::new());
    while lengths.len() < 2 {
        receive(&mut server, &mut inbox).await;
        lengths.extend(inbox.arrivals().map(|arrival| arrival.bytes.len()));
    }
    assert_eq!(lengths, [DATAGRAM_BYTES_MAX, 0]);
    assert_eq!(server.counts(), Counts { truncated: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_client_learns_that_nobody_listens() {
    let gone = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let mut client = Sockets::new();
    let path = client.ask(gone).unwrap();
    client.send(path, gone, b"anyone?".to_vec());
    let mut inbox = Inbox::new();
    receive(&mut client, &mut inbox).await;
    let (failed, error) = inbox.failure().unwrap();
    assert_eq!((failed, error.kind()), (path, io::ErrorKind::ConnectionRefused));
    // The kernel may tell it when the next datagram is sent instead.
    for _ in 0..10 {
        client.send(path, gone, b"still nobody?".to_vec());
        receive(&mut client, &mut inbox).await;
        assert_eq!(inbox.failure().unwrap().1.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_server_does_not_mind_a_client_that_is_gone() {
    let mut server = Sockets::new();
    let at = server.listen(loopback("127.0.0.1:0"), Service::Clear).unwrap();
    let mut inbox = Inbox::new();
    let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let stays = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..3 {
        gone.send_to(&[n], at).unwrap();
    }
    receive(&mut server, &mut inbox).await;
    drop(gone);
    for _ in 0..3 {
        echo(&mut server, &inbox);
    }
    stays.send_to(b"still there?", at).unwrap();
    receive(&mut server, &mut inbox).await;
    assert_eq!(inbox.arrivals().next().unwrap().bytes, b"still there?");
}

#[tokio::test]
async fn the_queue_has_an_end() {
    let mut server = Sockets::new();
    let at = server.listen(loopback("127.0.0.1:0"), Service::Clear).unwrap();
    // Before the runtime has looked at the socket nothing can leave: all of it waits.
    for _ in 0..4000 {
        server.send(Path(0), at, vec![0; 1000]);
    }
    let full = server.counts().queue_full;
    assert!((1000..3000).contains(&full), "{full}");
    assert_eq!(server.counts().refused, 0);
    // What waited leaves once it can, and there is room again.
    while !server.sockets[0].queue.is_empty() {
        server.ready().await;
        server.flush();
        let mut inbox = Inbox::new();
        while server.receive(&mut inbox) {}
    }
    assert_eq!(server.sockets[0].queue_bytes, 0);
}

#[tokio::test]
async fn an_unsendable_datagram_does_not_hold_up_the_others() {
    let mut server = Sockets::new();
    let at = server.listen(loopback("127.0.0.1:0"), Service::Clear).unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = Path(0);
    // Another family, and port 0.
    server.send(path, loopback("[::1]:9"), b"lost".to_vec());
    server.send(path, loopback("127.0.0.1:0"), b"lost".to_vec());
    server.send(path, client.local_addr().unwrap(), b"found".to_vec());
    server.send(Path(77), client.local_addr().unwrap(), b"no such path".to_vec());
    let _ = at;
    while !server.sockets[0].queue.is_empty() {
        server.ready().await;
        server.flush();
    }
    let mut buffer = [0; 16];
    assert_eq!(client.recv(&mut buffer).unwrap(), 5);
    assert_eq!(server.counts(), Counts { refused: 2, unanswerable: 1, ..Counts::default() });
}

#[tokio::test]
async fn links_name_the_addresses_of_the_interface_that_was_used() {
    let mut server = Sockets::new();
    let clear = server.listen(loopback("0.0.0.0:0"), Service::Clear).unwrap();
    let secure = server.listen(loopback("127.0.0.1:0"), Service::Secure).unwrap();
    let v6 = server.listen(loopback("[::1]:0"), Service::Clear).unwrap();
    let lo = server.interfaces().iter().find(|i| i.name == "lo").unwrap().index;
    let v4: Vec<_> = server.endpoints(lo, clear).collect();
    let here = SocketAddr::from(([127, 0, 0, 1], clear.port()));
    assert_eq!(v4, [(Service::Clear, here), (Service::Secure, secure)]);
    assert_eq!(server.endpoints(lo, v6).collect::<Vec<_>>(), [(Service::Clear, v6)]);
    assert_eq!(server.endpoints(9999, v6).count(), 0);
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error =
        Sockets::new().listen(taken.local_addr().unwrap(), Service::Clear).unwrap_err().to_string();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
    assert!(error.contains("choose another port"), "{error}");
}
