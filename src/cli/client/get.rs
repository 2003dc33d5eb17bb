//! `freshen get`: reads a resource once.

use std::io::{IsTerminal, Write, stdout};

use serde_json::json;

use super::{Common, RESOURCE_HELP, body, with_client};
use crate::cli::width;
use crate::client::request::{self, accepted};
use crate::client::{Target, text};
use crate::coap::{Code, Response, option};

/// Read a resource of a device
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    freshen get coap://127.0.0.1:5683/oic/d\n  \
    freshen get 'coap://[fe80::1%eth0]:40001/oic/res?rt=oic.r.softwareupdate'\n  \
    freshen get --output links.txt coap://192.0.2.1/.well-known/core\n  \
    freshen get ocf://b566b283-ef1a-46ef-791d-9b9068a91386/softwareupdateResURI\n  \
    freshen get --psk client-1:00112233445566778899aabbccddeeff coaps://192.0.2.1/oic/d")]
pub(in crate::cli) struct Args {
    /// The resource: coap://HOST:PORT/PATH, coaps://HOST:PORT/PATH or ocf://DEVICE/PATH
    #[arg(long_help = RESOURCE_HELP)]
    uri: Target,
    /// Write the body to a file, as it came
    #[arg(long, short, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.common.access.keys()?, async |client| {
        let request = |way| request::dressed(args.uri.request(Code::GET), way);
        let asked = client.ask_target(&args.uri, args.common.patience(), request).await?;
        let response = accepted(asked.answer.response)?;
        match &args.output {
            Some(file) => std::fs::write(file, &response.payload)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", file.display())),
            None => print(&response, args.common.json),
        }
    })
}

/// Prints a response to standard output, one property a line.
pub(super) fn print(response: &Response, as_json: bool) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if as_json {
        writeln!(
            out,
            "{}",
            json!({ "code": text::number(response.code), "payload": payload(response) })
        )?;
        return Ok(());
    }
    let terminal = out.is_terminal();
    let columns = width::columns(&out).unwrap_or(COLUMNS_DEFAULT);
    match shown(response, terminal, columns) {
        _ if response.payload.is_empty() => {
            eprintln!("{}, without a body", text::code(response.code))
        }
        Some(text) => writeln!(out, "{text}")?,
        None if terminal => writeln!(
            out,
            "{} bytes that are no text; --output FILE keeps them\n{}",
            response.payload.len(),
            body::hex(response.payload.get(..PREVIEW).unwrap_or(&response.payload))
        )?,
        None => out.write_all(&response.payload)?,
    }
    Ok(())
}

/// How wide lines are where nobody says.
const COLUMNS_DEFAULT: usize = 80;

/// How much of a body that is no text is shown, bytes.
const PREVIEW: usize = 32;

/// `application/link-format`.
const LINK_FORMAT: u32 = 40;

/// The body as text, CBOR with lines of `columns`; `None` where it is no text.
fn shown(response: &Response, terminal: bool, columns: usize) -> Option<String> {
    if let Some(value) = request::cbor(response) {
        // One more for the comma after a part.
        return Some(body::lines(&value, columns - 1));
    }
    if request::is_cbor(response) {
        return None;
    }
    let text = std::str::from_utf8(&response.payload).ok()?;
    if !terminal {
        return Some(text.trim_end().to_owned());
    }
    let text = match response.options.uint(option::CONTENT_FORMAT) {
        Some(LINK_FORMAT) => text.replace(",<", ",\n<"),
        _ => text.to_owned(),
    };
    let lines: Vec<String> = text.lines().map(text::printable).collect();
    Some(lines.join("\n"))
}

/// The body for a script: as JSON where it is CBOR or text, as h'..' where it is neither.
pub(super) fn payload(response: &Response) -> serde_json::Value {
    if response.payload.is_empty() {
        return serde_json::Value::Null;
    }
    match (request::cbor(response), std::str::from_utf8(&response.payload)) {
        (Some(value), _) => body::json(&value),
        (None, Ok(text)) if !request::is_cbor(response) => text.into(),
        _ => format!("h'{}'", body::hex(&response.payload)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(format: u16, payload: &[u8]) -> Response {
        Response::new(Code::CONTENT).with_payload(format, payload.to_vec())
    }

    #[test]
    fn bodies_are_shown_by_their_format() {
        let links = response(40, b"</a>;rt=x,</b>;title=\"a,b\"");
        assert_eq!(shown(&links, true, 80).unwrap(), "</a>;rt=x,\n</b>;title=\"a,b\"");
        assert_eq!(shown(&links, false, 80).unwrap(), "</a>;rt=x,</b>;title=\"a,b\"");
        assert_eq!(shown(&response(0, b"hot\x1b[31m\n"), true, 80).unwrap(), "hot\u{fffd}[31m");
        assert_eq!(shown(&response(60, &[0x82, 1, 2]), true, 80).unwrap(), "[1, 2]");
        assert_eq!(shown(&response(60, &[0x82, 1]), true, 80), None);
        assert_eq!(shown(&response(42, &[0xff, 0]), true, 80), None);
        // One property a line, whoever reads it.
        let pstat = [0xa2, 0x62, b'c', b'm', 0, 0x62, b't', b'm', 0];
        let wanted = "{\n  \"cm\": 0,\n  \"tm\": 0\n}";
        assert_eq!(shown(&response(60, &pstat), false, 80).unwrap(), wanted);
    }

    #[test]
    fn scripts_get_json() {
        assert_eq!(payload(&response(60, &[0x82, 1, 2])).to_string(), "[1,2]");
        assert_eq!(payload(&response(0, b"hi")), "hi");
        assert_eq!(payload(&response(42, &[0xff, 0])), "h'ff00'");
        assert_eq!(payload(&response(60, &[0x82])), "h'82'");
        assert_eq!(payload(&response(0, b"")), serde_json::Value::Null);
    }
}
