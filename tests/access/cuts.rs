//! The power fails before and after every commit of an onboarding; the device is afterwards owned or
//! unowned, never between.

use std::cell::RefCell;
use std::rc::Rc;

use freshen::device::{Commit, Keeper, Rejected};
use freshen::ocf::security::{Fresh, Input, OnboardingState, Security, World};
use freshen::store;

use crate::bench::{Bench, fresh};
use crate::encoder::{Cbor, map};
use crate::exchanges::{TOOL, bootstrap, transfer};

/// The disk, and how many points are passed before the power fails.
#[derive(Clone)]
struct Disk(Rc<RefCell<(Option<Security>, Option<u32>)>>);

impl Commit<Security> for Disk {
    fn commit(&mut self, state: &Security) -> Result<(), store::Error> {
        let refused = || store::Error::TooLong(0);
        let (kept, fuse) = &mut *self.0.borrow_mut();
        if burn(fuse) {
            return Err(refused());
        }
        *kept = Some(state.clone());
        if burn(fuse) { Err(refused()) } else { Ok(()) }
    }
}

/// Passes one point; true when the power is gone.
fn burn(fuse: &mut Option<u32>) -> bool {
    match fuse {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

/// An onboarding and a reset, input by input, as the router makes them.
fn inputs() -> Vec<Input> {
    use freshen::ocf::Subject;
    let mut bench = Bench::new();
    let mut inputs = vec![];
    let (clear, doc) = (Subject::Anonymous, Subject::Onboarding);
    let dos = |s: i64| map! { "dos" => map! { "s" => s } };
    let mut ask = |bench: &mut Bench, subject: &Subject, path: &str, body: &Cbor| {
        let request = crate::bench::posting(path, body);
        inputs.push(bench.input_of(subject, request.clone()));
        assert!(bench.ask(subject, request).code.is_success(), "{path}");
    };
    ask(&mut bench, &clear, "/oic/sec/doxm", &map! { "oxmsel" => 0 });
    bench.connected = true;
    for (path, body, _) in transfer() {
        if path != "/oic/sec/pstat" || !format!("{body:?}").contains("om") {
            ask(&mut bench, &doc, path, &body);
        }
    }
    ask(&mut bench, &doc, "/oic/sec/pstat", &dos(2));
    ask(&mut bench, &doc, "/oic/sec/acl2", &bootstrap());
    ask(&mut bench, &doc, "/oic/sec/pstat", &dos(3));
    let owner = crate::bench::peer(TOOL);
    ask(&mut bench, &owner, "/oic/sec/pstat", &dos(0));
    inputs.push(Input::ResetDone(fresh(77)));
    inputs
}

/// Lives until the power fails; true if it did.
fn live(disk: &Disk, inputs: &[Input]) -> bool {
    let first = Security::new(fresh(1));
    let Ok((mut keeper, _)) = Keeper::resume_security(disk.clone(), &first, Bench::now()) else {
        return true;
    };
    let rules = Bench::new().rules;
    let world = World {
        rules: &rules,
        owner_key: &|_, _| Some(freshen::ocf::security::Secret::new(vec![1; 16])),
        certificate: &|_, _| Ok(()),
        now: Bench::now(),
    };
    for input in inputs {
        match keeper.take(input.clone(), &world) {
            Ok(_) => {}
            Err(Rejected::NotDurable(_)) => return true,
            Err(Rejected::Refused(refusal)) => panic!("{refusal}: {input:?}"),
        }
    }
    false
}

#[test]
fn a_power_cut_at_every_commit_leaves_the_device_owned_or_unowned() {
    let inputs = inputs();
    let (mut owned, mut unowned) = (0, 0);
    for cut in 0.. {
        let disk = Disk(Rc::new(RefCell::new((None, Some(cut)))));
        if !live(&disk, &inputs) {
            break;
        }
        disk.0.borrow_mut().1 = None;
        // The next life, and another one after it.
        for life in 0..2 {
            let kept = disk.0.borrow().0.clone();
            let last = kept.unwrap_or_else(|| Security::new(fresh(1)));
            let (mut keeper, _) =
                Keeper::resume_security(disk.clone(), &last, Bench::now()).unwrap();
            if keeper.state().onboarding == OnboardingState::Reset {
                finish(&mut keeper, fresh(200 + u128::from(cut)));
            }
            let state = keeper.state();
            match state.onboarding {
                OnboardingState::Rfotm => {
                    let clean = Security {
                        ael: state.ael.clone(),
                        ..Security::new(Fresh { device: state.doxm.device, key: state.key.clone() })
                    };
                    assert_eq!(*state, clean, "cut {cut}: nothing is left of the owner");
                    assert!(!state.key.is_empty());
                    unowned += u32::from(life == 0);
                }
                OnboardingState::Rfpro | OnboardingState::Rfnop => {
                    assert!(state.doxm.owned && state.doxm.owner == TOOL, "cut {cut}");
                    assert!(state.cred.shared_keys(Bench::now().wall).any(|(who, _)| who == TOOL));
                    owned += u32::from(life == 0);
                }
                other => panic!("cut {cut}: {other:?}"),
            }
        }
    }
    println!("{owned} cuts end owned, {unowned} unowned");
    assert!(owned >= 4 && unowned >= 16, "{owned} {unowned}");
}

fn finish(keeper: &mut Keeper<Disk, Security>, fresh: Fresh) {
    let rules = Bench::new().rules;
    let world = World {
        rules: &rules,
        owner_key: &|_, _| None,
        certificate: &|_, _| Ok(()),
        now: Bench::now(),
    };
    keeper.take(Input::ResetDone(fresh), &world).unwrap();
}
