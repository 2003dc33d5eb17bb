//! Who knocked at the door of one owner, and comes in at that of the next.

use freshen::coap::Code;

use crate::owner::{Authority, Owner, PSTAT, SWU, dos, order};
use crate::victim::{DOXM, Victim, wait_until};

/// A client with a certificate of the owner's stops in the middle of its handshake, until the owner has
/// reset the device; then it goes on.
#[test]
fn a_handshake_from_before_a_reset_leads_nowhere() {
    for resets in [false, true] {
        let victim = Victim::start("");
        let devices = Authority::new("Devices");
        let mut owner = Owner::take(&victim);
        owner.trust(10, &devices);
        owner.name_device(&devices);
        let certificate = 11;
        let mut client = victim.stall(devices.client(&|_| {}, &devices), certificate);
        if resets {
            assert_eq!(owner.tool.post(PSTAT, &dos(0)), Code::CHANGED);
            wait_until("nobody owns the device", || {
                victim.stranger().get(DOXM).is_ok_and(|doxm| doxm["owned"] == false)
            });
        }
        client.go_on();
        let connects = client.connected().is_ok();
        // The control: without a reset it gets in.
        assert_eq!(connects, !resets, "{}", victim.log());
    }
}

/// Those whom the configuration names may order updates as long as nobody owns the device. What they
/// ordered is not the owner's.
#[test]
fn whoever_takes_the_device_finds_no_order_of_those_before() {
    let named = "[credentials]\npsk = [{ identity = \"fitter\", key_hex = \"6162636465666768696a6b6c6d6e6f70\" }]\n";
    let victim = Victim::start(named);
    let mut fitter = victim.connect(crate::owner::psk(b"fitter", b"abcdefghijklmnop")).unwrap();
    assert_eq!(order(&mut fitter, "https://example.com/fitter"), Code::CHANGED);
    // The control: it is an order, and waits.
    let seen = fitter.get(SWU).unwrap();
    assert_eq!(
        (&seen["purl"], &seen["swupdateaction"]),
        (&"https://example.com/fitter".into(), &"upgrade".into())
    );
    let mut owner = Owner::take(&victim);
    let seen = owner.tool.get(SWU).unwrap();
    assert_eq!(
        (&seen["purl"], &seen["swupdateaction"]),
        (&"".into(), &"idle".into()),
        "{}",
        victim.log()
    );
    assert!(fitter.is_cut_off(SWU), "{}", victim.log());
}
