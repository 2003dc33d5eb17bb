//! A server in this process with a clock that tests put forward, and clients of every kind.

use std::io::Read;
use std::sync::Arc;

use freshen_fleet::access::{Role, console};
use freshen_fleet::blob::Blobs;
use freshen_fleet::clock::Clock;
use freshen_fleet::server::{Server, Waker};
use freshen_fleet::store::{Campaigns, MembersOf, Stage, Store, Tally, UpdatesOfCampaign};
use serde_json::Value;
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, SendBody};

/// A fleet under test.
pub(crate) struct Fleet {
    pub(crate) server: Arc<Server>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    url: String,
    pub(crate) admin: Client,
    pub(crate) viewer: Client,
    pub(crate) operator: Client,
    pub(crate) approver: Client,
    pub(crate) other: Client,
    pub(crate) nobody: Client,
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Fleet {
    pub(crate) fn over_sqlite() -> Self {
        Self::start(async |dir| Store::sqlite(&dir.join("fleet.db")).await.unwrap())
    }

    pub(crate) fn over_postgresql() -> Option<Self> {
        let address = crate::postgres::database()?;
        Some(Self::start(async |_| Store::postgres(&address).await.unwrap()))
    }

    fn start(open: impl AsyncFn(&std::path::Path) -> Store) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let (server, store, url) = runtime.block_on(async {
            let store = open(dir.path()).await;
            let blobs = Blobs::directory(&dir.path().join("packages")).await.unwrap();
            let program = dir.path().join("wake");
            std::fs::write(
                &program,
                format!("#!/bin/sh\necho \"$1\" >> {}/woken\n", dir.path().display()),
            )
            .unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            let waker = Waker::Command(program.display().to_string());
            let server = Server::start(store.clone(), blobs, clock.clone(), waker).await.unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let router = freshen_fleet::api::router(server.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
            (server, store, url)
        });
        let agent = Agent::new_with_config(
            Agent::config_builder()
                .http_status_as_error(false)
                .max_idle_connections(0)
                .timeout_await_100(Some(std::time::Duration::from_secs(60)))
                .build(),
        );
        let client =
            |token: Option<String>| Client { agent: agent.clone(), url: url.clone(), token };
        let mint = |role: Role| {
            let minted =
                runtime.block_on(server.mint(&console(1), role.word(), role.clone(), None));
            client(Some(minted.unwrap().secret.reveal().to_owned()))
        };
        let other = runtime.block_on(server.add_tenant(&console(1), "other")).unwrap();
        let (admin, viewer) = (mint(Role::Admin), mint(Role::Viewer));
        let (operator, approver) = (mint(Role::Operator), mint(Role::Approver));
        let other = client(Some(other.secret.reveal().to_owned()));
        let nobody = client(None);
        Self {
            server,
            store,
            clock,
            dir,
            runtime,
            url,
            admin,
            viewer,
            operator,
            approver,
            other,
            nobody,
        }
    }

    /// A client with a device's token.
    pub(crate) fn device(&self, id: &str) -> Client {
        let scope = console(1);
        let minted = self.server.mint(&scope, id, Role::Device(id.into()), None);
        let token = self.runtime.block_on(minted).unwrap().secret.reveal().to_owned();
        Client { token: Some(token), url: self.url.clone(), ..self.admin.clone() }
    }

    /// Time goes on.
    pub(crate) fn later(&self, millis: i64) {
        self.clock.forward(millis);
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What holds whatever happened.
    pub(crate) fn truths(&self) {
        let scope = console(1);
        for campaign in self.wait(self.store.ask(&scope, Campaigns {})).unwrap() {
            let id = campaign.id.clone();
            let members = self.wait(self.store.ask(&scope, MembersOf { id: id.clone() })).unwrap();
            let total = members.last().map_or(0, |members| members.devices.len());
            let mut tally = Tally { total, ..Tally::default() };
            let asked = UpdatesOfCampaign { id, after: None, limit: 100_000 };
            for row in self.wait(self.store.ask(&scope, asked)).unwrap() {
                match row.stage {
                    Stage::Completed => tally.completed += 1,
                    Stage::Failed => tally.failed += 1,
                    Stage::Cancelled => tally.cancelled += 1,
                    _ => tally.in_flight += 1,
                }
            }
            assert_eq!(tally, campaign.tally, "counters are what counting anew gives");
        }
        let events = self.wait(self.store.events_after(0, 1_000_000)).unwrap();
        assert!(events.iter().map(|event| event.number).eq(1..=events.len() as i64));
        let audited = self.wait(self.server.audit_verify(&scope)).unwrap();
        assert!(audited.broken.is_none() && audited.lines > 0);
        // The index, built anew from the store, says what the index says that was followed.
        let list = self.admin.get("/devices?expand=components,packages&limit=1000");
        let packages = self.dir.path().join("packages");
        let blobs = Blobs::directory(&packages);
        let anew = self.wait(async {
            let blobs = blobs.await.unwrap();
            let named = self.wait_named().await;
            let kept = blobs.all().await.unwrap().into_iter().map(|(blob, _)| blob);
            assert_eq!(kept.collect::<Vec<_>>(), named, "bytes are there for packages only");
            let server =
                Server::start(self.store.clone(), blobs, self.clock.clone(), Waker::Nobody).await;
            server.unwrap()
        });
        let search = freshen_fleet::server::Search::default();
        let found = self.wait(anew.search(&scope, &search, None, 1000)).unwrap();
        let ids = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let listed: Vec<String> =
            list.json()["items"].as_array().unwrap().iter().map(ids).collect();
        assert!(found.items.iter().map(|one| &one.device.id).eq(&listed));
        let nothing = self.other.get("/devices").json();
        assert_eq!(nothing["total"], 0, "the other tenant sees nothing");
    }

    async fn wait_named(&self) -> Vec<String> {
        let packages = self.server.packages(&console(1)).await.unwrap();
        let files = packages.into_iter().flat_map(|package| package.facts.files);
        let mut named: Vec<String> = files.map(|file| file.blob).collect();
        named.sort();
        named
    }
}

impl Client {
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let path =
            if path.starts_with("//") { path[1..].to_owned() } else { format!("/api/v1{path}") };
        let ask = || {
            let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if body.is_some() {
                // Who refuses without reading the body says so before it is sent.
                request = request.header("expect", "100-continue");
            }
            let body = body.map_or_else(SendBody::none, |body| {
                SendBody::from_owned_reader(std::io::Cursor::new(body.to_vec()))
            });
            self.agent.run(request.body(body).unwrap())
        };
        // Who refuses in the middle of the body may close before the rest is written: then ask again.
        let mut answer = ask();
        for _ in 0..9 {
            if answer.is_err() {
                answer = ask();
            }
        }
        let (parts, body) = answer.unwrap().into_parts();
        let mut bytes = vec![];
        body.into_reader().read_to_end(&mut bytes).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        let kind = [("content-type", "application/json")];
        self.send(method, path, &kind, Some(body.to_string().as_bytes()))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Answer {
        if body.is_null() {
            self.send("POST", path, &[], None)
        } else {
            self.json("POST", path, body)
        }
    }

    pub(crate) fn put(&self, path: &str) -> Answer {
        self.send("PUT", path, &[], None)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// A device that is there from now on.
    pub(crate) fn add_device(&self, id: &str) {
        self.post("/devices", serde_json::json!({ "id": id })).is(201);
    }

    /// A package with bytes.
    pub(crate) fn add_package(&self, name: &str, version: &str, bytes: &[u8]) {
        let kind = [("content-type", "application/octet-stream")];
        self.send("PUT", &format!("/packages/{name}/{version}"), &kind, Some(bytes)).is(201);
    }

    /// The ids in a list.
    pub(crate) fn ids(&self, path: &str, member: &str) -> Vec<String> {
        let list = self.get(path).is(200).json();
        let id = |item: &Value| item[member].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(id).collect()
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        let said = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.status, status, "{said}");
        self
    }

    /// A refusal as RFC 9457 has it, with this code.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Value {
        let this = self.is(status);
        assert_eq!(this.header("content-type"), "application/problem+json");
        let problem = this.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["detail"], problem["description"]);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.bytes)))
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}
