//! Our device seen from another host: groups of both families, and requests that come twice.

use std::process::Command;

use super::discovery::Network;
use super::ours::Device;
use super::peers::python;
use super::run;

/// Sends one request to a group three times, and prints who answered to which token.
const ASK: &str = "
import socket, sys, time
group, token, path = sys.argv[1], sys.argv[2], sys.argv[3:]
family = socket.AF_INET6 if ':' in group else socket.AF_INET
asking = socket.socket(family, socket.SOCK_DGRAM)
where = socket.getaddrinfo(group, 5683, family, socket.SOCK_DGRAM)[0][4]
request, number = b'\\x54\\x01\\x12\\x34' + token.encode(), 0
for segment in path:
    delta = 11 if number == 0 else 0
    number = 11
    request += bytes([delta << 4 | len(segment)]) + segment.encode()
if '%' not in group:
    own = socket.inet_aton('10.77.0.1')
    asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
for copy in range(3):
    asking.sendto(request, where)
end = time.monotonic() + 4
while (left := end - time.monotonic()) > 0:
    asking.settimeout(left)
    try:
        answer, sender = asking.recvfrom(2048)
    except TimeoutError:
        break
    kind, code, token = answer[0] >> 4 & 3, answer[1], answer[4:8]
    print(kind, f'{code >> 5}.{code & 31:02}', token.decode(), sender[1] != 5683)
";

/// The lines that [`ASK`] prints for a request from the client's host.
fn answers(net: &Network, group: &str, token: &str, path: &[&str]) -> Vec<String> {
    let mut command: Command = net.on_client(&python());
    command.args(["-c", ASK, group, token]).args(path);
    run(&mut command).done().lines().map(str::to_owned).collect()
}

#[test]
fn our_device_answers_a_group_of_either_family_once_and_from_its_own_port() {
    let net = Network::new(1);
    let mut command = net.on_host(0, env!("CARGO_BIN_EXE_freshen"));
    let _device =
        Device::start(command.args(["device", "--coap", "0.0.0.0:0", "--coap", "[::]:0"]));
    let (v4, v6, path) = ("224.0.1.187", "ff02::158%cable0", ["oic", "res"]);
    let none: [&str; 0] = [];
    assert_eq!(answers(&net, v4, "aaaa", &path), ["1 2.05 aaaa True"]);
    assert_eq!(answers(&net, v6, "bbbb", &path), ["1 2.05 bbbb True"]);
    // The same request by the other family is the same request.
    assert_eq!(answers(&net, v6, "aaaa", &path), none);
    // Refusals are not for a group.
    assert_eq!(answers(&net, v4, "cccc", &["no", "such"]), none);
}
