//! Debian's nginx with TLS on a free port of loopback.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use url::Url;

use crate::certs::{self, Certs};
use crate::ports::free_address;
use crate::until;

/// It runs until it is dropped.
pub struct Nginx {
    child: Child,
    dir: tempfile::TempDir,
    /// Who certifies it, and what it shows.
    pub certs: Certs,
    /// Where it serves.
    pub base: Url,
}

impl Nginx {
    /// Starts it, and waits until it takes connections. `extra` goes into the server block.
    pub fn start(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certs = certs::make();
        fs::write(dir.path().join("cert.pem"), &certs.cert).unwrap();
        fs::write(dir.path().join("key.pem"), &certs.key).unwrap();
        fs::create_dir(dir.path().join("www")).unwrap();
        // Its workers drop privileges and still have to read what we write.
        make_readable(dir.path());
        let port = free_address().port();
        fs::write(dir.path().join("nginx.conf"), configuration(dir.path(), port, extra)).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is needed for this test: apt-get install nginx-light");
        let nginx = Self {
            child,
            dir,
            certs,
            base: Url::parse(&format!("https://localhost:{port}/")).unwrap(),
        };
        nginx.wait_for(port);
        nginx
    }

    /// Puts a file where it serves it.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.path().join("www").join(name);
        fs::write(&path, bytes).unwrap();
        make_readable(&path);
    }

    /// Moves a file to where it serves it.
    pub fn put_file(&self, name: &str, from: &Path) {
        fs::rename(from, self.path(name)).unwrap();
        make_readable(&self.path(name));
    }

    /// Where a file that it serves is.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("www").join(name)
    }

    /// What it has logged: one line a request, `status bytes_sent range`.
    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }

    /// The log, once it has as many lines: it is written after the answer.
    pub fn log_of(&self, lines: usize) -> String {
        until("nginx writes its log", || self.log().lines().count() >= lines);
        self.log()
    }

    fn wait_for(&self, port: u16) {
        until("nginx starts", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM lets the master end its worker too.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn make_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn configuration(dir: &Path, port: u16, extra: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
        events {{ worker_connections 64; }}
        http {{
            log_format short '$status $body_bytes_sent $http_range';
            access_log {dir}/access.log short;
            client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
            uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
                root {dir}/www;
                {extra}
            }}
        }}"
    )
}
