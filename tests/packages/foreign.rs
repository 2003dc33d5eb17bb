//! Envelopes that other people's programs make: `taylor` writes manifests, `brody` signs them.

use brody::Signer;
use freshen::package::{Algorithm, Digest, Fault, Refusal, verify};
use taylor::envelope::build_envelope;
use taylor::manifest::{
    SuitCommand, SuitCommandEnum as Command, SuitCommandSequence, SuitCommandSequenceEnum as Phase,
    SuitCommon, SuitDigest, SuitManifest, SuitParameter, SuitParametersEnum as Parameter,
};

use crate::corpus::Good;
use crate::draft::{PAYLOAD, identity};
use crate::keys::Key;

/// Signed by brody with ES256.
pub(crate) fn envelopes() -> Vec<Good> {
    let key = Key::new(Algorithm::P256, 9);
    let signer = Signer::from_pem(&key.private_pem(), brody::Algorithm::Es256).unwrap();
    manifests()
        .into_iter()
        .map(|(name, manifest)| Good {
            name: format!("taylor and brody, {name}"),
            envelope: build_envelope(manifest, Some(&signer)).unwrap(),
            key: key.clone(),
            identity: identity(),
            free: None,
        })
        .collect()
}

fn manifests() -> Vec<(&'static str, SuitManifest)> {
    let one = || manifest(&["app"], Phase::SuitInstall);
    let mut versioned = one();
    versioned.suit_set_version = Some(vec![1, 2, -1, 3]);
    let mut large = one();
    large.sequence_number = usize::MAX;
    let mut fetch_then_install = manifest(&["app"], Phase::SuitPayloadFetch);
    let check = sequence(Phase::SuitInstall, vec![Command::SuitConditionImageMatch(15)]);
    fetch_then_install.sequence.insert(1, check);
    vec![
        ("one component", one()),
        ("version", versioned),
        ("largest sequence number", large),
        ("payload-fetch", manifest(&["app"], Phase::SuitPayloadFetch)),
        ("payload-fetch and install", ordered(fetch_then_install)),
        ("two components", manifest(&["app", "cfg"], Phase::SuitInstall)),
        (
            "eight components",
            manifest(&["1", "2", "3", "4", "5", "6", "7", "8"], Phase::SuitInstall),
        ),
    ]
}

/// taylor writes members in the order it is given; canonical is the order of their numbers.
fn ordered(mut manifest: SuitManifest) -> SuitManifest {
    manifest.sequence.sort_by_key(|sequence| match sequence.sequence {
        Phase::SuitValidate => 7,
        Phase::SuitPayloadFetch => 16,
        _ => 20,
    });
    manifest
}

fn manifest(ids: &[&str], phase: Phase) -> SuitManifest {
    let identity = identity();
    let components = ids.iter().map(|id| vec![id.as_bytes().to_vec().into()]).collect();
    let mut shared = vec![
        Command::SuitDirectiveSetComponentIndex(0),
        set(vec![
            Parameter::SuitVendorID(identity.vendor.as_bytes().to_vec()),
            Parameter::SuitClassID(identity.class.as_bytes().to_vec()),
        ]),
        Command::SuitConditionVendorIdentifier(15),
        Command::SuitConditionClassIdentifier(15),
    ];
    let (mut fetch, mut validate) = (vec![], vec![]);
    for (index, id) in ids.iter().enumerate() {
        let choose = || Command::SuitDirectiveSetComponentIndex(index as u64);
        let digest =
            SuitDigest { algorithm: "sha256".into(), digest: Digest::of(PAYLOAD).0.to_vec() };
        shared.extend([
            choose(),
            set(vec![
                Parameter::SuitImageDigest(digest),
                Parameter::SuitImageSize(PAYLOAD.len() as u64),
            ]),
        ]);
        let uri = set(vec![Parameter::SuitURI(format!("{id}.bin"))]);
        fetch.extend([choose(), uri, Command::SuitDirectiveFetch(2)]);
        validate.extend([choose(), Command::SuitConditionImageMatch(15)]);
    }
    let common = SuitCommon::new(components, shared.into_iter().map(command).collect());
    let mut manifest = SuitManifest::new(7, common);
    manifest.sequence = vec![sequence(Phase::SuitValidate, validate), sequence(phase, fetch)];
    ordered(manifest)
}

fn sequence(phase: Phase, commands: Vec<Command>) -> SuitCommandSequence {
    SuitCommandSequence { sequence: phase, actions: commands.into_iter().map(command).collect() }
}

fn command(ident: Command) -> SuitCommand {
    SuitCommand { ident }
}

fn set(parameters: Vec<Parameter>) -> Command {
    let parameters = parameters.into_iter().map(|ident| SuitParameter { ident }).collect();
    Command::SuitDirectiveOverrideParameters(parameters)
}

/// From JSON, taylor writes the parameters of one command in the order of their names, so that class
/// (2) comes before vendor (1). Draft 8.1 wants them in the order of their encoding.
#[test]
fn the_order_of_taylors_json_is_not_canonical_and_refused() {
    let json = r#"{ "version": 1, "sequence-number": 1, "suit-common": {
        "suit-components": [["617070"]],
        "suit-shared-sequence": [{ "suit-directive-override-parameters": {
            "vendor-id": "cfbff0d1-9375-5685-968c-48ce8b15ae17",
            "class-id": "34c2ce86-0cce-5bbd-8328-f07c8af2f9ed" } }] } }"#;
    let key = Key::new(Algorithm::P256, 9);
    let signer = Signer::from_pem(&key.private_pem(), brody::Algorithm::Es256).unwrap();
    let manifest = taylor::parse::parse(&mut json.as_bytes()).unwrap();
    let envelope = build_envelope(manifest, Some(&signer)).unwrap();
    let refusal = verify(&envelope, &key.trust(), &identity()).unwrap_err();
    let order = Refusal::Malformed { part: "the shared sequence", fault: Fault::KeyOrder };
    assert_eq!(refusal, order);
}
