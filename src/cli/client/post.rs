//! `freshen post`: writes to a resource.

use ciborium::Value;

use super::{Common, RESOURCE_HELP, body, get, with_client};
use crate::client::Target;
use crate::client::request::{self, accepted};
use crate::coap::Code;

/// Write to a resource of a device (OCF UPDATE)
#[derive(clap::Args)]
#[command(
    after_help = "A value is JSON where it can be (true, 256, {\"s\":3}) and a text otherwise.\n\n\
    Examples:\n  \
    freshen post coap://127.0.0.1:5683/oic/sec/pstat tm=256\n  \
    freshen post coap://127.0.0.1:5683/softwareupdateResURI purl=https://example.com/fw \\\n      \
      swupdateaction=upgrade updatetime=2030-01-09T14:30:00Z\n  \
    freshen post coap://127.0.0.1:5683/light --json-body '{\"value\": true}'\n  \
    freshen post ocf://b566b283-ef1a-46ef-791d-9b9068a91386/oic/sec/pstat tm=256"
)]
pub(in crate::cli) struct Args {
    /// The resource: coap://HOST:PORT/PATH, coaps://HOST:PORT/PATH or ocf://DEVICE/PATH
    #[arg(long_help = RESOURCE_HELP)]
    uri: Target,
    /// Properties to write
    #[arg(value_name = "KEY=VALUE", value_parser = body::member, conflicts_with_all = ["json_body", "cbor_hex"])]
    members: Vec<(String, Value)>,
    /// The whole body as JSON, sent as CBOR
    #[arg(long, value_name = "JSON", value_parser = json, conflicts_with = "cbor_hex")]
    json_body: Option<serde_json::Value>,
    /// The whole body as hexadecimal digits, sent as it is
    #[arg(long, value_name = "HEX")]
    cbor_hex: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    let payload = payload(args.members, args.json_body, args.cbor_hex.as_deref())?;
    with_client(args.common.access.keys()?, async |client| {
        let request = |way| {
            let mut request = args.uri.request(Code::POST);
            request.payload = payload.clone();
            request::dressed(request, way)
        };
        let asked = client.ask_target(&args.uri, args.common.patience(), request).await?;
        get::print(&accepted(asked.answer.response)?, args.common.json)
    })
}

fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

fn payload(
    members: Vec<(String, Value)>,
    json: Option<serde_json::Value>,
    hex: Option<&str>,
) -> anyhow::Result<Vec<u8>> {
    if let Some(hex) = hex {
        return body::from_hex(hex).map_err(|why| crate::cli::usage(format!("--cbor-hex: {why}")));
    }
    if let Some(json) = json {
        return Ok(body::encode(&body::from_json(json)));
    }
    let members = members.into_iter().map(|(key, value)| (Value::Text(key), value)).collect();
    Ok(body::encode(&Value::Map(members)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_made_in_three_ways() {
        let members = vec![body::member("tm=256").unwrap()];
        let wanted = [0xa1, 0x62, b't', b'm', 0x19, 0x01, 0x00];
        assert_eq!(payload(members, None, None).unwrap(), wanted);
        let json = serde_json::json!({"tm": 256});
        assert_eq!(payload(vec![], Some(json), None).unwrap(), wanted);
        assert_eq!(payload(vec![], None, Some("a162746d190100")).unwrap(), wanted);
        assert_eq!(payload(vec![], None, None).unwrap(), [0xa0]);
        assert!(payload(vec![], None, Some("a")).is_err());
    }
}
