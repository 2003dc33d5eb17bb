use std::collections::BTreeSet;

use super::*;

const EXPLAINED: &str = include_str!("../../resources/device.toml");
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n";

/// A directory with a configuration and the files that it may name.
fn load(text: &str, overrides: &Overrides) -> Result<Settings, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in
        [("device.toml", text), ("c.pem", CERTIFICATE), ("k.pem", KEY), ("p.pem", PUBLIC)]
    {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    Settings::load(Some(&directory.path().join("device.toml")), overrides)
        .map_err(|error| error.to_string().replace(directory.path().to_str().unwrap(), "DIR"))
}

fn accepted(text: &str) -> Settings {
    load(text, &Overrides::default()).unwrap()
}

fn refused(text: &str) -> String {
    load(text, &Overrides::default()).unwrap_err()
}

#[test]
fn the_explained_configuration_shows_the_defaults() {
    let explained = format!("{:?}", accepted(EXPLAINED));
    let defaults = Settings::load(None, &Overrides::default()).unwrap();
    assert_eq!(explained, format!("{defaults:?}"));
}

#[test]
fn the_explained_configuration_names_every_key() {
    for table in ["device", "listen", "onboarding", "credentials", "update", "install"] {
        let message = refused(&format!("[{table}]\nno-such-key = 1"));
        let known: BTreeSet<&str> = message.split('`').skip(3).step_by(2).collect();
        assert!(known.len() >= 4, "{message}");
        let explained = EXPLAINED.split_once(&format!("[{table}]\n")).unwrap().1;
        let explained = explained.split("\n[").next().unwrap();
        let named: BTreeSet<&str> = explained
            .lines()
            .map(|line| line.trim_start_matches("# "))
            .filter_map(|line| line.split_once(" = ").map(|(key, _)| key))
            .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            .collect();
        assert_eq!(named, known, "[{table}]");
    }
}

#[test]
fn every_example_in_the_explained_configuration_is_valid() {
    // Examples come after "For example:", commented out; they stand for the line they explain.
    let examples: Vec<&str> = EXPLAINED
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = ") && toml::from_str::<toml::Table>(line).is_ok())
        .collect();
    assert_eq!(examples.len(), 20, "{examples:?}");
    for example in examples {
        let key = example.split(" = ").next().unwrap();
        let own_line = EXPLAINED.lines().find(|line| line.starts_with(&format!("{key} = ")));
        let text = match own_line {
            Some(line) => EXPLAINED.replace(line, example),
            None => EXPLAINED.replace(&format!("# {example}"), example),
        };
        // The files that it names do not exist here, but the key and the type are right.
        raw::parse(&text).map_err(|error| format!("{example}: {error:?}")).unwrap();
    }
}

#[test]
fn the_configuration_of_the_contract_is_read() {
    let settings = accepted(
        r#"
        [device]
        name = "Camera"
        vendor = "example.com"
        manufactured = "2026-01-09T15:30:00+01:00"
        [listen]
        coap = ["127.0.0.1:5683", "[::1]:0"]
        insecure = true
        coaps = []
        [onboarding]
        methods = ["jw", "mfgcert"]
        mfg_cert = "c.pem"
        mfg_key = "k.pem"
        mfg_roots = ["c.pem"]
        [credentials]
        psk = [{ identity = "client-1", key_hex = "00112233445566778899aAbBcCdDeEfF" }]
        cert = "c.pem"
        key = "k.pem"
        roots = ["c.pem", "c.pem"]
        [update]
        builtin_url = "https://updates.example.com/cam.suit"
        trust = ["p.pem"]
        ca = "c.pem"
        allow_hosts = ["updates.example.com", ".example.net", "*.example.org", "2001:db8::1", "*"]
        allow_ports = [443]
        [install]
        kind = "file"
        file = "camera"
        activate = ["systemctl", "restart", "./not-a-path"]
        health = ["./health", "x"]
        "#,
    );
    assert_eq!(settings.device.manufactured.to_rfc3339(), "2026-01-09T14:30:00+00:00");
    assert_eq!(settings.listen.coap.len(), 2);
    assert_eq!(settings.onboarding.methods, [Method::JustWorks, Method::ManufacturerCertificate]);
    let psk = &settings.credentials.psk[0];
    assert_eq!((psk.key.expose()[0], psk.key.expose()[15]), (0, 255));
    assert_eq!(settings.credentials.certificate.unwrap().roots.len(), 2);
    assert_eq!(settings.update.trust, [PUBLIC]);
    assert_eq!(settings.update.ca, Ca::Pem(CERTIFICATE.into()));
    let InstallKind::File(file) = &settings.install.kind else { panic!() };
    assert!(file.is_absolute() && file.ends_with("camera"), "{file:?}");
    assert_eq!(settings.install.activate, ["systemctl", "restart", "./not-a-path"]);
    assert!(Path::new(&settings.install.health[0]).is_absolute());
}

#[test]
fn an_installer_of_the_device_is_named_and_its_verbs_may_be_replaced() {
    let program = |text: &str| match accepted(text).install.kind {
        InstallKind::Program(program) => *program,
        other => panic!("{other:?}"),
    };
    let rauc = program("[install]\nkind = \"rauc\"\nprogram_timeout_s = 60");
    assert_eq!(rauc.write, ["rauc", "install", "{payload}"]);
    assert_eq!(rauc.limit, Duration::from_secs(60));
    let swupdate = program(
        "[install]\nkind = \"swupdate\"\nswitch = [\"./next\", \"{version}\"]\nbooted = [\"which\"]",
    );
    assert_eq!(swupdate.write, ["swupdate-client", "{payload}"]);
    assert!(swupdate.switch[0].ends_with("/./next") && swupdate.switch[1] == "{version}");
    assert_eq!((swupdate.booted, swupdate.roll_back), (vec!["which".to_owned()], vec![]));
    let own = program("[install]\nkind = \"command\"\ncommand = [\"x\", \"y\"]\ndiscard = []");
    assert_eq!(own.roll_back, ["x", "y", "roll-back"]);
    assert_eq!(own.discard, [""; 0]);
}

#[test]
fn a_wrong_shape_is_refused_with_its_line() {
    for (text, expected) in [
        (
            "[device]\nnmae = \"x\"",
            "DIR/device.toml, line 2: unknown field `nmae`, expected one of",
        ),
        ("\n\n[devise]\n", "DIR/device.toml, line 3: unknown field `devise`, expected one of"),
        (
            "[listen]\nmulticast = true\ncoap = \"0.0.0.0:0\"",
            "DIR/device.toml, line 3: expected a list such as [\"...\"], found a text",
        ),
        (
            "[update]\npurl_max = \"64\"",
            "DIR/device.toml, line 2: expected a whole number, found a text",
        ),
        ("[update]\nallow_private = 1", "line 2: expected true or false, found a whole number"),
        ("[device]\nname = Camera", "line 2: string values must be quoted"),
        ("[device]\nname = \"a\"\nname = \"b\"", "line 3: duplicate key"),
        ("[credentials]\npsk = [{ identity = \"x\" }]", "line 2: missing field `key_hex`"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}\n-> {error}");
    }
}

#[test]
fn a_wrong_value_is_refused_by_name_with_what_is_expected() {
    for (text, expected) in [
        ("[device]\nname = \"\"", "device.name = \"\": expected 1 to 64 characters"),
        ("[device]\nmanufactured = \"2026-01-09\"", "expected a date and time in quotes"),
        ("[device]\nvendor = \"not a domain\"", "expected a domain of the vendor"),
        ("[listen]\ncoap = [\"5683\"]", "listen.coap = 5683: expected ADDRESS:PORT"),
        ("[listen]\ncoap = []\ncoaps = []", "expected an address here or in listen.coaps"),
        ("[onboarding]\nmethods = [\"pin\"]", "expected \"jw\", \"rdp\" or \"mfgcert\""),
        ("[onboarding]\nmethods = [\"mfgcert\"]", "mfg_cert, mfg_key and mfg_roots beside it"),
        ("[onboarding]\nmfg_cert = \"c.pem\"", "onboarding.mfg_key = (absent): expected a file"),
        ("[credentials]\nkey = \"k.pem\"", "credentials.cert = (absent): expected a file"),
        ("[update]\nhref = \"/oic/d\"", "that is not taken"),
        ("[update]\nhref = \"swu\"", "expected a path such as"),
        ("[update]\nhref = \"/a?b\"", "expected a path such as"),
        ("[update]\nbuiltin_url = \"ftp://x/y\"", "begins with one of https, coaps"),
        ("[update]\nbuiltin_url = \"x\"", "update.builtin_url = \"x\": expected a whole URL"),
        ("[update]\npurl_max = 63", "update.purl_max = 63: expected 64 to 1024"),
        ("[update]\nbandwidth_max = -1", "update.bandwidth_max = -1: expected 0 or more"),
        ("[update]\nmax_payloads = 0", "update.max_payloads = 0: expected 1 to 32"),
        ("[update]\nallow_ports = [0]", "update.allow_ports = 0: expected 1 to 65535"),
        ("[update]\nallow_schemes = [\"ftp\"]", "update.allow_schemes = \"ftp\": expected"),
        ("[update]\nallow_hosts = [\"https://x\"]", "no scheme, port or path"),
        ("[update]\nallow_hosts = [\"ex*mple.com\"]", "no scheme, port or path"),
        ("[update]\ntrust = [\"absent.pem\"]", "update.trust = \"DIR/absent.pem\": No such file"),
        ("[update]\ntrust = [\"k.pem\"]", "a PEM file with a line \"-----BEGIN PUBLIC KEY-----\""),
        ("[update]\nca = \"k.pem\"", "-----BEGIN CERTIFICATE-----"),
        ("[install]\nkind = \"slot\"", "install.kind = \"slot\": expected \"slots\", \"file\""),
        ("[install]\nkind = \"command\"", "install.command = []: expected the program"),
        ("[install]\ncommand = [\"x\"]", "install.command = \"x\": expected it only with kind"),
        ("[install]\nkind = \"rauc\"\ncommand = [\"x\"]", "only with kind = \"command\""),
        ("[install]\nkind = \"rauc\"\nfile = \"x\"", "only with kind = \"file\""),
        ("[install]\nroll_back = []", "install.roll_back = (given): expected it only with kind"),
        ("[install]\nkind = \"swupdate\"\nwrite = []", "install.write = []: expected a program"),
        ("[install]\nkind = \"rauc\"\nprogram_timeout_s = 0", "expected 1 to 86400"),
        ("[install]\nkind = \"rauc\"\nagent = \"freshen\"", "a path inside a slot"),
        ("[install]\nagent = \"/bin/freshen\"", "a path inside a slot"),
        ("[install]\nagent = \"../freshen\"", "a path inside a slot"),
        ("[install]\nactivate_timeout_s = 0", "install.activate_timeout_s = 0: expected 1"),
        ("[update]\nmirrors = [\"https://m.example/cam\"]", "with a / at its end"),
        ("[update]\nmirrors = [\"m.example/\"]", "expected whole URLs of directories"),
        ("[update]\nmirrors = [\"ftp://m.example/\"]", "expected whole URLs of directories"),
        ("[update]\nwindow = \"2-4\"", "update.window = \"2-4\": expected a time of day"),
        ("[update]\nveto = [\"\"]", "expected a program and its arguments"),
        ("[install]\nkind = \"file\"", "install.file = (absent): expected the path"),
        ("[install]\nfile = \"x\"", "only with kind = \"file\""),
        ("[install]\nhealth = [\"\"]", "expected a program and its arguments"),
        ("[install]\ntries = 0", "install.tries = 0: expected 1 to 10"),
        ("[install]\nconfirm_timeout_s = 10", "expected at least health_timeout_s"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}\n-> {error}");
    }
}

#[test]
fn no_error_repeats_a_secret() {
    let secret = "5ec2e75ec2e75ec2e75ec2e75ec2e75e";
    for text in [
        format!("[credentials]\npsk = \"{secret}\""),
        format!("[credentials]\npsk = [\"{secret}\"]"),
        format!("[credentials]\npsk = [{{ identity = \"x\", key_hex = \"{secret}0\" }}]"),
        format!("[credentials]\npsk = [{{ identity = \"x\", key_hex = \"{secret}\", odd = 1 }}]"),
        format!("[credentials]\npsk = [{{ identity = \"x\", key_hex = [\"{secret}\"] }}]"),
        format!("[credentials]\npsk = [{{ identity = 1, key_hex = \"{secret}\" }}]"),
        format!("[credentials]\npsk = [{{ identity = \"x\", key_hex = {secret} }}]"),
        "[credentials]\npsk = [{ identity = \"x\", key_hex = 5252525252 }]".into(),
        format!(
            "[credentials]\npsk = [{{ identity = \"x\", key_hex = \"{secret}\" }},\
             {{ identity = \"x\", key_hex = \"{secret}\" }}]"
        ),
    ] {
        let error = refused(&text);
        assert!(!error.contains("5ec2") && !error.contains("5252"), "{text}\n-> {error}");
    }
    let settings = accepted(&format!(
        "[credentials]\npsk = [{{ identity = \"x\", key_hex = \"{secret}\" }}]\n\
         cert = \"c.pem\"\nkey = \"k.pem\"\nroots = []"
    ));
    let shown = format!("{settings:?}");
    assert!(!shown.contains("94, 194") && !shown.contains("c2VjcmV0"), "{shown}");
}

#[test]
fn insecure_mode_takes_loopback_addresses_only() {
    let insecure = Overrides { insecure: true, ..Overrides::default() };
    let settings = load("", &insecure).unwrap();
    let all = settings.listen.coap.iter().chain(&settings.listen.coaps);
    assert_eq!(all.filter(|address| address.ip().is_loopback()).count(), 4);
    for text in ["coap = [\"0.0.0.0:0\"]", "coaps = [\"[::]:0\"]", "coap = [\"192.0.2.1:5683\"]"] {
        let error = load(&format!("[listen]\n{text}"), &insecure).unwrap_err();
        assert!(error.contains("loopback addresses only"), "{error}");
    }
    let open = Overrides { coap: vec!["[::]:0".parse().unwrap()], ..insecure.clone() };
    assert!(load("", &open).is_err());
    // What the command line names stands in the place of what the file names.
    let near = Overrides { coap: vec!["127.0.0.1:0".parse().unwrap()], ..insecure };
    let settings = load("[listen]\ncoap = [\"0.0.0.0:0\"]\ncoaps = []", &near).unwrap();
    assert_eq!((settings.listen.coap, settings.listen.coaps.len()), (near.coap, 0));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Settings::load(Some(Path::new("/no/such/file.toml")), &Overrides::default());
    let error = missing.unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration /no/such/file.toml: No such"));
    let endless = Settings::load(Some(Path::new("/dev/zero")), &Overrides::default());
    assert!(endless.unwrap_err().to_string().contains("longer than"));
}

#[test]
fn components_have_places_inside_a_slot_and_are_counted() {
    let text =
        |kind: &str, entries: &str| format!("[install]\n{kind}\n[install.components]\n{entries}");
    let places = accepted(&text("", "\"h'00'\" = \"firmware.bin\"")).install.components;
    assert_eq!(places.get("h'00'"), Some(&PathBuf::from("firmware.bin")));
    for path in ["", "/x", "../x", "a/../b", "a\\u0000b"] {
        let words = refused(&text("", &format!("a = \"{path}\"")));
        assert!(words.contains("install.components"), "{words}");
    }
    refused(&text("kind = \"file\"\nfile = \"/x\"", "a = \"b\""));
    let many = |count| (0..count).map(|n| format!("c{n} = \"p{n}\"\n")).collect::<String>();
    let most = accepted(&text("", &many(COMPONENTS_MAX))).install.components;
    assert_eq!(most.len(), COMPONENTS_MAX);
    assert!(refused(&text("", &many(COMPONENTS_MAX + 1))).contains("at most 64"));
}
