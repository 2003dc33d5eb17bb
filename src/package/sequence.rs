//! Command sequences: the program in a manifest, run once.

use super::cbor::{Next, Reader};
use super::codes::{COMMANDS_MAX, REPORTING_POLICY_MAX, VERSION_MATCHES_MAX, WAYS_MAX, command};
use super::parameters::Parameters;
use super::refusal::Fault;
use super::{Digest, Format, Identity, Mismatch, Refusal, VersionMatch, Way};

/// Which sequence is run; each allows some commands only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    Shared,
    PayloadFetch,
    Install,
    Validate,
    Invoke,
}

impl Sequence {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "the shared sequence",
            Self::PayloadFetch => "the payload-fetch sequence",
            Self::Install => "the install sequence",
            Self::Validate => "the validate sequence",
            Self::Invoke => "the invoke sequence",
        }
    }
}

/// What remains to be done for a component when all sequences have run.
pub(super) struct Order {
    pub(super) id: Vec<String>,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) format: Format,
    /// At least one.
    pub(super) ways: Vec<Way>,
}

/// When it may be installed.
pub(super) struct Conditions {
    /// The earliest moment of expiry, seconds since 1970.
    pub(super) use_before: Option<u64>,
    pub(super) requires: Vec<VersionMatch>,
    pub(super) needs_approval: bool,
}

/// The abstract machine of draft 6.4: the components, and what was said and done about each.
pub(super) struct Processor {
    components: Vec<State>,
    commands: u64,
}

#[derive(Clone, Default)]
struct State {
    id: Vec<String>,
    parameters: Parameters,
    vendor_checked: bool,
    class_checked: bool,
    use_before_checked: bool,
    requires: Vec<VersionMatch>,
    needs_approval: bool,
    ways: Vec<Way>,
    image_checked: bool,
    invoked: bool,
}

impl Processor {
    pub(super) fn new(ids: Vec<Vec<String>>) -> Self {
        let components = ids.into_iter().map(|id| State { id, ..State::default() }).collect();
        Self { components, commands: 0 }
    }

    /// Runs one sequence: pairs of a command and its argument (draft 8.4.6).
    pub(super) fn run(&mut self, sequence: Sequence, bytes: &[u8]) -> Result<(), Refusal> {
        Reader::all(sequence.name(), bytes, |reader| {
            let items = reader.array()?;
            if items % 2 != 0 {
                return Err(reader.fault(Fault::WrongValue));
            }
            // 6.3: with several components, each sequence begins with the choice of one.
            let mut current = if self.components.len() == 1 { vec![0] } else { vec![] };
            for _ in 0..items / 2 {
                self.count()?;
                self.command(sequence, &mut current, reader)?;
            }
            Ok(())
        })
    }

    fn command(
        &mut self,
        sequence: Sequence,
        current: &mut Vec<usize>,
        reader: &mut Reader<'_>,
    ) -> Result<(), Refusal> {
        let code = reader.int()?;
        if code == command::SET_COMPONENT_INDEX {
            *current = read_index(reader, self.components.len())?;
            return Ok(());
        }
        if current.is_empty() {
            return Err(Refusal::Missing("the choice of a component at the start of a sequence"));
        }
        if code == command::TRY_EACH && allowed(sequence, command::FETCH).is_some() {
            return self.try_each(sequence, current, reader);
        }
        self.act(sequence, code, current, reader)
    }

    fn act(
        &mut self,
        sequence: Sequence,
        code: i64,
        current: &[usize],
        reader: &mut Reader<'_>,
    ) -> Result<(), Refusal> {
        if code == command::OVERRIDE_PARAMETERS {
            let parameters = Parameters::read(reader)?;
            return self.each(current, |component| component.parameters.add(&parameters));
        }
        let act = allowed(sequence, code).ok_or_else(|| reader.unsupported("command", code))?;
        if reader.uint()? > REPORTING_POLICY_MAX {
            return Err(reader.fault(Fault::WrongValue));
        }
        self.each(current, act)
    }

    /// Draft 8.4.7.1, for the one purpose that our profile has for it: several ways to a payload. Which
    /// of them works is found out later, by whoever fetches.
    fn try_each(
        &mut self,
        sequence: Sequence,
        current: &[usize],
        reader: &mut Reader<'_>,
    ) -> Result<(), Refusal> {
        let count = reader.array()?;
        if !(1..=WAYS_MAX as u64).contains(&count) {
            return Err(Refusal::OverLimit { what: "alternatives", limit: WAYS_MAX as u64 });
        }
        let component = match current {
            [index] => self.components.get(*index).cloned(),
            _ => None,
        };
        let before = component.ok_or(Refusal::Missing("the choice of one component"))?;
        let mut after = before.clone();
        let mut image_checked = true;
        for _ in 0..count {
            let mut alone = Self { components: vec![before.clone()], commands: self.commands };
            alone.alternative(sequence, reader.bytes()?)?;
            self.commands = alone.commands;
            let [alternative] = &*alone.components else { continue };
            match &*alternative.ways {
                [way] if before.ways.is_empty() => after.ways.push(way.clone()),
                [] => return Err(Refusal::Missing("the fetching of a component")),
                _ => return Err(Refusal::Contradiction("the fetching of a component")),
            }
            if !alternative.parameters.same_payload(&before.parameters) {
                return Err(Refusal::Contradiction("a payload and the alternative to it"));
            }
            image_checked &= alternative.image_checked;
        }
        after.image_checked |= image_checked;
        self.each(current, |component| {
            *component = after.clone();
            Ok(())
        })
    }

    fn alternative(&mut self, sequence: Sequence, bytes: &[u8]) -> Result<(), Refusal> {
        Reader::all("an alternative", bytes, |reader| {
            let items = reader.array()?;
            if items % 2 != 0 {
                return Err(reader.fault(Fault::WrongValue));
            }
            for _ in 0..items / 2 {
                self.count()?;
                let code = reader.int()?;
                match code {
                    command::OVERRIDE_PARAMETERS | command::FETCH | command::IMAGE_MATCH => {
                        self.act(sequence, code, &[0], reader)?;
                    }
                    code => return Err(reader.unsupported("command", code)),
                }
            }
            Ok(())
        })
    }

    fn count(&mut self) -> Result<(), Refusal> {
        self.commands += 1;
        if self.commands > COMMANDS_MAX {
            return Err(Refusal::OverLimit { what: "commands", limit: COMMANDS_MAX });
        }
        Ok(())
    }

    fn each(
        &mut self,
        current: &[usize],
        act: impl Fn(&mut State) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let chosen = |n: &usize| current.contains(n);
        self.components
            .iter_mut()
            .enumerate()
            .filter(|(n, _)| chosen(n))
            .try_for_each(|(_, component)| act(component))
    }

    /// Which devices the package is for, and whether this is one of them. Vendor and class describe
    /// the device, so they are the same for all components.
    pub(super) fn identity(&self, device: Option<&Identity>) -> Result<Identity, Refusal> {
        let checked = |checked: fn(&State) -> bool| self.components.iter().any(checked);
        if !checked(|component| component.vendor_checked) {
            return Err(Refusal::Missing("the check of the vendor id"));
        }
        if !checked(|component| component.class_checked) {
            return Err(Refusal::Missing("the check of the class id"));
        }
        let vendor = self.agreed("the vendor id", |parameters| parameters.vendor)?;
        let class = self.agreed("the class id", |parameters| parameters.class)?;
        let package = Identity { vendor, class };
        let Some(&device) = device else { return Ok(package) };
        let mismatch =
            || Box::new(Mismatch { package, package_names: None, device, device_names: None });
        match (device.vendor == vendor, device.class == class) {
            (true, true) => Ok(package),
            (true, false) => Err(Refusal::WrongClass(mismatch())),
            (false, _) => Err(Refusal::WrongVendor(mismatch())),
        }
    }

    fn agreed<T: PartialEq>(
        &self,
        what: &'static str,
        parameter: fn(&Parameters) -> Option<T>,
    ) -> Result<T, Refusal> {
        let mut values =
            self.components.iter().filter_map(|component| parameter(&component.parameters));
        let value = values.next().ok_or(Refusal::Missing(what))?;
        if values.all(|other| other == value) {
            Ok(value)
        } else {
            Err(Refusal::Contradiction(what))
        }
    }

    /// When it may be installed, and what to do for each component.
    pub(super) fn finish(
        mut self,
        device: Option<&Identity>,
    ) -> Result<(Conditions, Vec<Order>), Refusal> {
        // Once more: a later sequence may have said something else.
        self.identity(device)?;
        let conditions = self.conditions();
        // Control is handed over once; whatever a second one is for, it would never be reached.
        if self.components.iter().filter(|component| component.invoked).count() > 1 {
            return Err(Refusal::Contradiction("what is invoked"));
        }
        let total = self
            .components
            .iter()
            .try_fold(0_u64, |total, c| total.checked_add(c.parameters.size?));
        let orders = self.components.into_iter().map(State::order).collect::<Result<_, _>>()?;
        if total.is_none() {
            return Err(Refusal::OverLimit { what: "bytes of payload", limit: u64::MAX });
        }
        Ok((conditions, orders))
    }

    /// They are about the device or its software as a whole: what one component asks, all ask.
    fn conditions(&mut self) -> Conditions {
        let use_before = self.components.iter().filter_map(|c| c.parameters.use_before).min();
        let needs_approval = self.components.iter().any(|c| c.needs_approval);
        let mut requires: Vec<VersionMatch> = vec![];
        for wanted in self.components.iter_mut().flat_map(|c| c.requires.drain(..)) {
            if !requires.contains(&wanted) {
                requires.push(wanted);
            }
        }
        Conditions { use_before, requires, needs_approval }
    }
}

/// What a command does to a component.
type Act = fn(&mut State) -> Result<(), Refusal>;

/// The act of a command, where the sequence allows it.
fn allowed(sequence: Sequence, code: i64) -> Option<Act> {
    use Sequence::{Install, Invoke, PayloadFetch, Validate};
    match (sequence, code) {
        (_, command::VENDOR_IDENTIFIER) => Some(State::check_vendor),
        (_, command::CLASS_IDENTIFIER) => Some(State::check_class),
        (_, command::USE_BEFORE) => Some(State::check_use_before),
        (_, command::VERSION) => Some(State::check_version),
        (_, command::UPDATE_AUTHORIZED) => Some(State::ask_approval),
        (PayloadFetch | Install, command::FETCH) => Some(State::fetch),
        (PayloadFetch | Install | Validate | Invoke, command::IMAGE_MATCH) => {
            Some(State::check_image)
        }
        (Invoke, command::INVOKE) => Some(State::invoke),
        _ => None,
    }
}

/// `IndexArg`: one component, several, or all (draft 6.5).
fn read_index(reader: &mut Reader<'_>, components: usize) -> Result<Vec<usize>, Refusal> {
    let one = |reader: &mut Reader<'_>| {
        usize::try_from(reader.uint()?)
            .ok()
            .filter(|index| *index < components)
            .ok_or_else(|| reader.fault(Fault::WrongValue))
    };
    match reader.next() {
        Next::Uint => Ok(vec![one(reader)?]),
        Next::Array => {
            let count = reader.array()?;
            // Each component once: `count` comes from outside and is as large as it likes.
            if count == 0 || count > components as u64 {
                return Err(reader.fault(Fault::WrongValue));
            }
            (0..count).map(|_| one(reader)).collect()
        }
        _ => reader.true_().map(|()| (0..components).collect()),
    }
}

impl State {
    fn check_vendor(&mut self) -> Result<(), Refusal> {
        self.vendor_checked = true;
        self.parameters.vendor.map(|_| ()).ok_or(Refusal::Missing("the vendor id"))
    }

    fn check_class(&mut self) -> Result<(), Refusal> {
        self.class_checked = true;
        self.parameters.class.map(|_| ()).ok_or(Refusal::Missing("the class id"))
    }

    fn check_use_before(&mut self) -> Result<(), Refusal> {
        self.use_before_checked = true;
        self.parameters.use_before.map(|_| ()).ok_or(Refusal::Missing("the use-before parameter"))
    }

    fn check_version(&mut self) -> Result<(), Refusal> {
        let wanted = self.parameters.version.take().ok_or(Refusal::Missing("the version match"))?;
        if self.requires.len() == VERSION_MATCHES_MAX {
            let limit = VERSION_MATCHES_MAX as u64;
            return Err(Refusal::OverLimit { what: "version matches", limit });
        }
        self.requires.push(wanted);
        Ok(())
    }

    /// The priority is for whoever is asked; here that is a person with the package before them.
    fn ask_approval(&mut self) -> Result<(), Refusal> {
        self.needs_approval = true;
        Ok(())
    }

    /// Our profile: digest and size are known before the first byte is asked for.
    fn fetch(&mut self) -> Result<(), Refusal> {
        self.parameters.payload()?;
        if !self.ways.is_empty() {
            return Err(Refusal::Contradiction("the fetching of a component"));
        }
        self.ways.push(self.parameters.way()?);
        Ok(())
    }

    fn check_image(&mut self) -> Result<(), Refusal> {
        if self.ways.is_empty() {
            // It would ask about the software that runs, which is no part of this profile.
            return Err(Refusal::Missing("the fetching of a component before its check"));
        }
        self.image_checked = true;
        Ok(())
    }

    /// What it asks for is done when all of it is installed: all of it is switched to at once, and how
    /// it is started is for the device to say.
    fn invoke(&mut self) -> Result<(), Refusal> {
        if self.ways.is_empty() {
            return Err(Refusal::Missing("the fetching of a component before it is invoked"));
        }
        self.invoked = true;
        Ok(())
    }

    fn order(self) -> Result<Order, Refusal> {
        if self.ways.is_empty() {
            return Err(Refusal::Missing("the fetching of a component"));
        }
        if !self.image_checked {
            return Err(Refusal::Missing("the check of a component's digest"));
        }
        if self.parameters.use_before.is_some() && !self.use_before_checked {
            return Err(Refusal::Missing("the check of use-before"));
        }
        if self.parameters.version.is_some() {
            return Err(Refusal::Missing("the check of the version"));
        }
        let (digest, size) = self.parameters.payload()?;
        let format = self.parameters.format()?;
        Ok(Order { id: self.id, digest, size, format, ways: self.ways })
    }
}
