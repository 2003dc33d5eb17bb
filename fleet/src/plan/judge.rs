//! What the counts mean: whether to stop, to wait, or to let the next wave begin. Errors are judged
//! before success.

use super::campaign::{AbortRule, Action, Campaign, Policy, Scope, Stage, Wave, Why};
use super::failure::Class;
use super::time::Time;

/// What is to happen to a running campaign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    GoOn,
    /// It stops until somebody looks.
    Pause(Why),
    /// It stops for good, for the abort rule with this place.
    Cancel(usize),
    /// The wave moves to this stage.
    Stage(usize, Stage),
    /// The wave begins.
    Begin(usize),
}

/// Judges a running campaign by its counts.
pub fn judge(campaign: &Campaign, policy: &Policy, now: Time) -> Verdict {
    if let Some(stop) = aborted(campaign, policy) {
        return stop;
    }
    if let Some(wave) = missed(campaign, policy) {
        return Verdict::Pause(Why::Missed { wave });
    }
    let Some(current) = campaign.begun.checked_sub(1) else { return Verdict::Begin(0) };
    let (wave, rules) = (&campaign.waves[current], &policy.waves[current]);
    let reached = has_reached(wave, rules.success_percent);
    let next = current + 1 < campaign.waves.len();
    match wave.stage {
        Stage::Waiting => Verdict::Stage(current, Stage::Begun),
        Stage::Begun if reached && wave.meant() > 0 && rules.soak_ms > 0 => {
            let until = now + std::time::Duration::from_millis(rules.soak_ms);
            Verdict::Stage(current, Stage::Soaking { until })
        }
        // Somebody joined, or who was completed is gone.
        Stage::Soaking { .. } | Stage::Asked | Stage::Passed if !reached && next => {
            Verdict::Stage(current, Stage::Begun)
        }
        Stage::Soaking { until } if now < until => Verdict::GoOn,
        Stage::Begun | Stage::Soaking { .. } if reached => {
            let asked = rules.health && wave.meant() > 0;
            Verdict::Stage(current, if asked { Stage::Asked } else { Stage::Passed })
        }
        Stage::Passed if next => Verdict::Begin(current + 1),
        _ => Verdict::GoOn,
    }
}

/// Whether enough of a wave are completed.
pub fn has_reached(wave: &Wave, percent: u8) -> bool {
    u128::from(wave.counts.completed) * 100 >= u128::from(wave.meant()) * u128::from(percent)
}

/// Whether so many of a wave failed that not enough can be completed any more.
pub fn is_out_of_reach(wave: &Wave, percent: u8) -> bool {
    let possible = wave.meant() - wave.counts.failed;
    u128::from(possible) * 100 < u128::from(wave.meant()) * u128::from(percent)
}

/// The first wave that has begun and cannot reach its threshold any more.
pub(super) fn missed(campaign: &Campaign, policy: &Policy) -> Option<usize> {
    let begun = campaign.waves.iter().zip(&policy.waves).take(campaign.begun);
    begun
        .enumerate()
        .find(|(_, (wave, rules))| is_out_of_reach(wave, rules.success_percent))
        .map(|(n, _)| n)
}

fn aborted(campaign: &Campaign, policy: &Policy) -> Option<Verdict> {
    let begun = &campaign.waves[..campaign.begun];
    for (n, rule) in policy.abort.iter().enumerate() {
        let wave = match rule.scope {
            Scope::Campaign if fires(rule, begun) => None,
            Scope::Campaign => continue,
            Scope::Wave => {
                let Some(wave) =
                    begun.iter().position(|wave| fires(rule, std::slice::from_ref(wave)))
                else {
                    continue;
                };
                Some(wave)
            }
        };
        return Some(match rule.action {
            Action::Pause => Verdict::Pause(Why::Aborted { rule: n, wave }),
            Action::Cancel => Verdict::Cancel(n),
        });
    }
    None
}

fn fires(rule: &AbortRule, waves: &[Wave]) -> bool {
    let counts = |class: Class| match rule.class {
        Some(counted) => class == counted,
        None => class != Class::Expired,
    };
    let (mut failed, mut executed) = (0_u64, 0_u64);
    for wave in waves {
        executed += wave.counts.completed.saturating_sub(wave.forgiven.completed);
        for (class, failures) in &wave.failures {
            let forgiven = wave.forgiven.failures.get(class).copied().unwrap_or(0);
            let failures = failures.saturating_sub(forgiven);
            failed += if counts(*class) { failures } else { 0 };
            // What expired was never tried, unless the rule is about just that.
            executed += if *class != Class::Expired || counts(*class) { failures } else { 0 };
        }
    }
    executed >= rule.minimum_executed
        && failed > 0
        && u128::from(failed) * 100 >= u128::from(executed) * u128::from(rule.percent)
}
