//! `freshen pack`: from files to a signed package.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use url::Url;
use zeroize::Zeroizing;

use super::inspect::encoding_name;
use super::output::{Draft, Force, Kind, Output, cannot_write};
use super::payload::{self, Payload, Treatment};
use super::table::{self, Table};
use super::ways;
use crate::clock;
use crate::install;
use crate::package::{
    Coding, Component, Description, Digest, ENVELOPE_BYTES_MAX, Encoding, Format, Identity, Names,
    Recipient, SigningKey, Source, VersionMatch, Way,
};

/// Make a signed package of files or directories
///
/// Writes the envelope, which devices are pointed at, and each payload beside it. A file is installed
/// as it is; a directory becomes a tar archive whose contents are installed.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    freshen pack --key vendor.key.pem --vendor example.com --class cam-1 --version 1.1.0 \\\n    \
    --out site/cam.suit --zstd build/\n  \
    freshen pack --key vendor.key.pem --vendor example.com --class cam-1 --version 1.1.0 \\\n    \
    --out site/cam.suit bin/cam=target/cam etc/cam.toml=cam.toml\n\n\
    Then put each file that is listed on a web server, the envelope last, and check it with `freshen \
    verify`.")]
pub(super) struct Args {
    /// What to install: a file or a directory, or NAME=PATH to install a file under another name;
    /// several become one package that is installed as a whole
    #[arg(required = true, value_name = "[NAME=]PATH")]
    inputs: Vec<String>,
    /// The vendor's private key (PEM), as `freshen keygen` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The vendor's domain: only devices with this `vendor` install it
    #[arg(long, value_name = "DOMAIN")]
    vendor: String,
    /// The class of devices it is for, such as the model
    #[arg(long)]
    class: String,
    /// What devices show as the new version: 1.2.3, or 1.2.3-rc.1, -beta.1, -alpha.1
    #[arg(long)]
    version: String,
    /// Grows with every release; devices refuse what is older than what they run. Default: the time
    /// now, in milliseconds since 1970
    #[arg(long, value_name = "NUMBER")]
    sequence: Option<u64>,
    /// Devices refuse it from this moment on: 2027-01-31, or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    use_before: Option<DateTime<Utc>>,
    /// Only devices that run such a version install it: >=1.2, <2, =1.2.3; repeatable, all must hold
    #[arg(long, value_name = "VERSIONS", value_parser = version_match)]
    requires: Vec<VersionMatch>,
    /// Devices install it only for an order that is given when they show it as available
    #[arg(long)]
    needs_approval: bool,
    /// Allow a --sequence that leaves little room: more than ten years ahead of the time now, in
    /// milliseconds. A device never goes back behind what it has installed
    #[arg(long)]
    far_sequence: bool,
    /// Where to write the envelope, such as site/cam.suit; payloads go into the same directory
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The input is a tar archive whose contents are installed
    #[arg(long)]
    tar: bool,
    /// Compress archives
    #[arg(long)]
    zstd: bool,
    /// Put small payloads into the envelope instead of beside it
    #[arg(long, conflicts_with = "uri_name")]
    integrated: bool,
    /// Encrypt payloads for the device with this public key (PEM, P-256), and for nobody else;
    /// repeatable
    #[arg(long, value_name = "FILE", conflicts_with = "integrated")]
    encrypt_to: Vec<PathBuf>,
    /// Add a patch for devices that have this now: the file, or the directory whose contents they
    /// have. Others fetch the whole
    #[arg(long, value_name = "PATH", conflicts_with = "integrated")]
    delta_from: Option<PathBuf>,
    /// The payloads are in this directory of another server, too: an URL that ends in `/`; repeatable
    #[arg(long, value_name = "URL", conflicts_with = "integrated", value_parser = mirror)]
    mirror: Vec<Url>,
    /// File name of the payload, and its URI relative to the envelope
    #[arg(long, value_name = "NAME")]
    uri_name: Option<String>,
    /// Write over what is at --out, or over a payload of the same name, whatever it is; never over what
    /// is read here
    #[arg(long)]
    force: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Makes the package, and leaves nothing behind when it cannot.
pub(super) fn run(args: Args) -> Result<()> {
    let pem = Zeroizing::new(read_text(&args.key)?);
    let key = SigningKey::from_pem(&pem).with_context(|| args.key.display().to_string())?;
    let plan = Plan::new(&args)?;
    // What a device would refuse, and where nothing may be written, is better known before gigabytes
    // are compressed.
    plan.description(plan.inputs.iter().map(Input::placeholder).collect()).sign(&key)?;
    let place = plan.output(&args.out, Kind::Envelope)?;
    let mut made = Made::default();
    let components = plan.inputs.iter().map(|input| plan.component(input, &mut made));
    let description = plan.description(components.collect::<Result<_>>()?);
    ensure!(
        made.has_contents,
        "there is nothing in {}: an empty package would leave devices without software",
        args.inputs.join(", ")
    );
    let envelope = description.sign(&key)?;
    for upload in &made.uploads {
        upload.output.keep()?;
    }
    // The envelope comes last: whoever finds it finds everything it names.
    place.write(&envelope)?;
    report(&args, &description, envelope.len(), &made.uploads);
    Ok(())
}

/// What was made, and does not have its names yet.
#[derive(Default)]
struct Made {
    uploads: Vec<Upload>,
    has_contents: bool,
}

/// A file that has to be where devices fetch it.
struct Upload {
    output: Output,
    /// Its URI, relative to the envelope.
    uri: String,
    size: u64,
    /// Of which component it is.
    id: String,
    coding: Option<Coding>,
}

/// What is to be packed, checked as far as that is possible before the work begins.
struct Plan<'a> {
    args: &'a Args,
    inputs: Vec<Input>,
    directory: PathBuf,
    stem: String,
    sequence: u64,
    treatment: Treatment,
    recipients: Vec<Recipient>,
}

struct Input {
    id: Vec<String>,
    path: PathBuf,
}

impl<'a> Plan<'a> {
    fn new(args: &'a Args) -> Result<Self> {
        let out = &args.out;
        let directory = out.parent().unwrap_or(Path::new("")).to_owned();
        let directory = if directory.as_os_str().is_empty() { ".".into() } else { directory };
        ensure!(
            directory.is_dir(),
            "the directory {} does not exist: create it first",
            directory.display()
        );
        let stem = out.file_stem().and_then(|stem| stem.to_str());
        let stem = stem.context("--out must name a file, such as site/cam.suit")?.to_owned();
        let inputs =
            args.inputs.iter().map(|text| input(text, &stem)).collect::<Result<Vec<_>>>()?;
        ensure!(
            args.uri_name.is_none() || inputs.len() == 1,
            "--uri-name is for packages with one payload; these get names of their own"
        );
        let now = clock::now().wall;
        let sequence = match args.sequence {
            Some(sequence) => sequence,
            None => now
                .timestamp_millis()
                .try_into()
                .context("the clock of this machine is before 1970: set it, or give --sequence")?,
        };
        let far = (now + TimeDelta::days(3653)).timestamp_millis();
        ensure!(
            args.far_sequence || i64::try_from(sequence).is_ok_and(|it| it <= far),
            "--sequence {sequence} leaves little room: devices refuse what is below it for ever; \
             leave it out for the time now, or add --far-sequence if it is meant"
        );
        if let Some(moment) = args.use_before {
            ensure!(
                moment > now,
                "--use-before {moment} is in the past: no device would install this"
            );
        }
        let treatment = Treatment { tar: args.tar, zstd: args.zstd, mtime: source_date_epoch()? };
        ensure!(
            args.delta_from.is_none() || inputs.len() == 1,
            "--delta-from is for packages with one payload"
        );
        let recipients = recipients(&args.encrypt_to)?;
        Ok(Self { args, inputs, directory, stem, sequence, treatment, recipients })
    }

    fn description(&self, components: Vec<Component>) -> Description {
        Description {
            sequence: self.sequence,
            version: self.args.version.clone(),
            identity: Identity::new(&self.args.vendor, &self.args.class),
            names: Some(Names { vendor: self.args.vendor.clone(), class: self.args.class.clone() }),
            use_before: self.args.use_before,
            requires: self.args.requires.clone(),
            needs_approval: self.args.needs_approval,
            components,
        }
    }

    /// A place that is neither the key nor anything else that is read.
    fn output(&self, path: &Path, kind: Kind) -> Result<Output> {
        let Args { key, encrypt_to, delta_from, force, .. } = self.args;
        let packed = self.inputs.iter().map(|input| &input.path);
        let inputs: Vec<&Path> =
            packed.chain([key]).chain(encrypt_to).chain(delta_from).map(PathBuf::as_path).collect();
        Output::new(path, kind, Force::from(*force), &inputs)
    }

    fn component(&self, input: &Input, made: &mut Made) -> Result<Component> {
        let Input { id, path } = input;
        if self.args.integrated {
            let mut bytes = Capped(vec![]);
            let payload = payload::make(path, self.treatment, &mut bytes)?;
            made.has_contents |= has_contents(path, &payload, &*bytes.0)?;
            let Payload { digest, size, format } = payload;
            let source = Source::Integrated(bytes.0);
            return Ok(Component { id: id.clone(), digest, size, format, source });
        }
        if self.args.delta_from.is_some() || !self.recipients.is_empty() {
            return self.coded(input, made);
        }
        let name = self.payload_name(input);
        let output = self.payload_output(&name, made)?;
        let payload =
            payload::make(path, self.treatment, BufWriter::new(open_draft(output.part())?))?;
        let written = File::open(output.part()).with_context(|| cannot_write(output.path()))?;
        made.has_contents |= has_contents(path, &payload, BufReader::new(written))?;
        let Payload { digest, size, format } = payload;
        let (uri, id) = (uri(&name), id.clone());
        made.uploads.push(Upload { output, uri, size, id: id.join("/"), coding: None });
        Ok(Component { id, digest, size, format, source: self.source(&[(name, None)]) })
    }

    /// A component whose payload is transferred in another form: first as a patch, if there is one.
    fn coded(&self, input: &Input, made: &mut Made) -> Result<Component> {
        let Input { id, path } = input;
        let name = self.payload_name(input);
        let (image, form) =
            (Draft::within(&self.directory, SCRATCH)?, Draft::within(&self.directory, SCRATCH)?);
        let patched = self.args.delta_from.as_ref();
        // A patch is for what is in the archive, not for what zstd made of it.
        let treatment =
            Treatment { zstd: self.treatment.zstd && patched.is_none(), ..self.treatment };
        let payload = payload::make(path, treatment, BufWriter::new(open_draft(image.path())?))?;
        let written = File::open(image.path()).with_context(|| cannot_write(image.path()))?;
        made.has_contents |= has_contents(path, &payload, BufReader::new(written))?;
        let mut forms = vec![];
        if let Some(old) = patched {
            let encoding = ways::patch(old, &payload, image.path(), form.path())?;
            let name = format!("{}.delta", name.trim_end_matches(".zst"));
            forms.push(self.stage(input, name, form.path(), encoding, made)?);
        }
        let is_archive = payload.format != Format::Raw;
        forms.push(if patched.is_some() && self.treatment.zstd && is_archive {
            let encoding = ways::compress(image.path(), form.path())?;
            self.stage(input, name, form.path(), encoding, made)?
        } else {
            self.stage(input, name, image.path(), Encoding::Identity, made)?
        });
        let Payload { digest, size, format } = payload;
        Ok(Component { id: id.clone(), digest, size, format, source: self.source(&forms) })
    }

    fn stage(
        &self,
        input: &Input,
        name: String,
        from: &Path,
        encoding: Encoding,
        made: &mut Made,
    ) -> Result<(String, Option<Coding>)> {
        let name = if self.recipients.is_empty() { name } else { format!("{name}.enc") };
        let output = self.payload_output(&name, made)?;
        let coding = ways::publishable(from, encoding, &self.recipients, output.part())?;
        let size = match &coding {
            Some(coding) => coding.size,
            None => payload::measure(output.part())?.0,
        };
        let (uri, id) = (uri(&name), input.id.join("/"));
        made.uploads.push(Upload { output, uri, size, id, coding: coding.clone() });
        Ok((name, coding))
    }

    /// Where a payload of this name goes.
    fn payload_output(&self, name: &str, made: &Made) -> Result<Output> {
        let path = self.directory.join(name);
        ensure!(path != self.args.out, "a payload and the envelope have the same name {name}");
        let twice = made.uploads.iter().any(|upload| upload.output.path() == path);
        ensure!(!twice, "two payloads have the same name {name}: give one of them another NAME=");
        self.output(&path, Kind::Payload)
    }

    /// Beside the envelope first, then at the mirrors.
    fn source(&self, forms: &[(String, Option<Coding>)]) -> Source {
        let mut ways = vec![];
        for (name, coding) in forms {
            let name = uri(name);
            let mirrors = self.args.mirror.iter().map(|mirror| format!("{mirror}{name}"));
            let uris = std::iter::once(name.clone()).chain(mirrors);
            ways.extend(uris.map(|uri| Way { uri, coding: coding.clone() }));
        }
        match &*ways {
            [Way { uri, coding: None }] => Source::Uri(uri.clone()),
            _ => Source::Ways(ways),
        }
    }

    /// `cam-1.2.0.tar.zst`: a name for each release, so that an older envelope keeps its payload.
    fn payload_name(&self, input: &Input) -> String {
        if let Some(name) = &self.args.uri_name {
            return name.clone();
        }
        let which = match self.inputs.len() {
            1 => String::new(),
            _ => format!("-{}", input.id.join("-")),
        };
        let extension = match (input.path.is_dir() || self.args.tar, self.args.zstd) {
            (false, _) => "bin",
            (true, false) => "tar",
            (true, true) => "tar.zst",
        };
        format!("{}-{}{which}.{extension}", self.stem, self.args.version)
    }
}

impl Input {
    /// The component before anything is known about its payload.
    fn placeholder(&self) -> Component {
        let source = Source::Uri("payload".to_owned());
        Component {
            id: self.id.clone(),
            digest: Digest::of(&[]),
            size: 0,
            format: Format::Raw,
            source,
        }
    }
}

/// `[NAME=]PATH`. A path that exists is taken as it is, whatever characters it has.
fn input(text: &str, stem: &str) -> Result<Input> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !Path::new(text).exists() => (Some(name), PathBuf::from(path)),
        _ => (None, PathBuf::from(text)),
    };
    ensure!(
        path.exists(),
        "there is no file or directory {}: give what to pack as the last argument",
        path.display()
    );
    let name = match name {
        Some(name) => name,
        // The contents of a directory are installed without its name.
        None if path.is_dir() => stem,
        None => path
            .file_name()
            .and_then(|name| name.to_str())
            .context("the name of the file is not UTF-8: give NAME=PATH")?,
    };
    Ok(Input { id: name.split('/').map(str::to_owned).collect(), path })
}

/// Reads a payload as the device will, which refuses what could leave the place where it is unpacked,
/// and says whether anything is in it.
fn has_contents(input: &Path, made: &Payload, payload: impl Read) -> Result<bool> {
    let no_device = || format!("no device would install {}", input.display());
    let entries = install::check(made.format, payload).with_context(no_device)?;
    Ok(if made.format == Format::Raw { made.size > 0 } else { entries > 0 })
}

fn open_draft(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).with_context(|| cannot_write(path))
}

/// For what nobody but this process needs.
const SCRATCH: u32 = 0o600;

/// Holds at most what fits into an envelope.
struct Capped(Vec<u8>);

impl std::io::Write for &mut Capped {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + buffer.len() > ENVELOPE_BYTES_MAX {
            return Err(std::io::Error::other(
                "it is too large for the envelope: leave out --integrated",
            ));
        }
        self.0.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn report(args: &Args, description: &Description, envelope_bytes: usize, uploads: &[Upload]) {
    let integrated = description
        .components
        .iter()
        .filter(|component| matches!(component.source, Source::Integrated(_)));
    if args.json {
        let files = uploads.iter().map(|upload| {
            let coding = upload.coding.as_ref();
            serde_json::json!({
                "id": upload.id, "uri": upload.uri, "size": upload.size,
                "file": upload.output.path(),
                "encoding": encoding_name(coding.map_or(Encoding::Identity, |it| it.encoding)),
                "encrypted": coding.is_some_and(|it| it.encryption.is_some()),
            })
        });
        let inside = integrated.map(|component| {
            let size = component.size;
            serde_json::json!({ "id": component.id.join("/"), "uri": null, "size": size })
        });
        let payloads: Vec<_> = files.chain(inside).collect();
        let upload: Vec<_> =
            uploads.iter().map(|upload| upload.output.path()).chain([&*args.out]).collect();
        println!(
            "{}",
            serde_json::json!({
                "envelope": args.out, "bytes": envelope_bytes, "version": description.version,
                "sequence": description.sequence, "payloads": payloads, "upload": upload,
            })
        );
        return;
    }
    let heading = format!("Packed {} {} for {}", args.class, args.version, args.vendor);
    let file = |path: &Path, size| format!("{}  {}", path.display(), table::size(size));
    let table = Table::new(heading).row("sequence", description.sequence);
    let table = uploads.iter().fold(table, |table, upload| {
        let Upload { output, size, id, coding, .. } = upload;
        let what = match coding.as_ref().map(|coding| coding.encoding) {
            Some(Encoding::Delta { .. }) => format!("a patch that makes {id}"),
            _ => format!("becomes {id}"),
        };
        table.row("upload", format!("{}, {what}", file(output.path(), *size)))
    });
    let table =
        table.row("upload", format!("{}, the envelope", file(&args.out, envelope_bytes as u64)));
    integrated
        .fold(table, |table, component| {
            let words = format!("becomes {}", component.id.join("/"));
            table.row("inside", format!("{}, {words}", table::size(component.size)))
        })
        .print();
}

/// A file name as a URI reference (RFC 3986, 2.3).
fn uri(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn recipients(files: &[PathBuf]) -> Result<Vec<Recipient>> {
    if files.is_empty() {
        return Ok(vec![]);
    }
    let pems = files.iter().map(|file| read_text(file)).collect::<Result<Vec<_>>>()?;
    Recipient::from_pem(&pems).context("--encrypt-to")
}

fn mirror(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.path().ends_with('/') && url.query().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err("end it in `/`: file names are appended".to_owned())
    }
}

fn version_match(text: &str) -> Result<VersionMatch, String> {
    VersionMatch::from_text(text)
        .map_err(|_| "write it like >=1.2, >1.2, =1.2.3, <=1.9 or <2".to_owned())
}

pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map(|date| date.and_time(NaiveTime::MIN).and_utc())
        .map_err(|_| "write it like 2027-01-31 or 2027-01-31T12:00:00Z".to_owned())
}

/// The time of files in archives, as reproducible builds give it.
fn source_date_epoch() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds.parse().context("SOURCE_DATE_EPOCH is not a number of seconds"),
        Err(_) => Ok(0),
    }
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_uri_references() {
        assert_eq!(uri("cam-1.2.0.tar.zst"), "cam-1.2.0.tar.zst");
        assert_eq!(uri("my cam:1#é"), "my%20cam%3A1%23%C3%A9");
    }

    #[test]
    fn a_date_is_its_first_moment() {
        assert_eq!(moment("2027-01-31").unwrap(), moment("2027-01-31T00:00:00Z").unwrap());
        assert_eq!(moment("2027-01-31T01:00:00+01:00").unwrap(), moment("2027-01-31").unwrap());
        moment("tomorrow").unwrap_err();
    }
}
