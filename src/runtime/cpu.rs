//! Which CPUs the cores run on.

use super::error::ServeError;
use crate::base::ids::ShardId;
use crate::config::settings::CoreSelection;

/// The CPUs to use, one core each.
pub(super) fn choose(selection: &CoreSelection) -> Result<Vec<usize>, ServeError> {
    let allowed = core_affinity::get_core_ids().ok_or(ServeError::AffinityUnknown)?;
    let allowed: Vec<usize> = allowed.into_iter().map(|core| core.id).collect();
    choose_from(selection, &allowed)
}

fn choose_from(selection: &CoreSelection, allowed: &[usize]) -> Result<Vec<usize>, ServeError> {
    let max = usize::from(ShardId::COUNT_MAX);
    let cpus = match selection {
        // A machine with more CPUs than a broker can use is no error when nobody asked for them.
        CoreSelection::Auto => allowed.iter().copied().take(max).collect(),
        CoreSelection::Count(count) => choose_count(usize::from(*count), allowed)?,
        CoreSelection::List(list) => choose_list(list, allowed)?,
    };
    match cpus.len() {
        0 => Err(ServeError::NoCores),
        wanted if wanted > max => Err(ServeError::TooManyCores { wanted, max }),
        _ => Ok(cpus),
    }
}

fn choose_count(wanted: usize, allowed: &[usize]) -> Result<Vec<usize>, ServeError> {
    let max = usize::from(ShardId::COUNT_MAX);
    if wanted > max {
        return Err(ServeError::TooManyCores { wanted, max });
    }
    if wanted > allowed.len() {
        return Err(ServeError::TooFewCpus {
            wanted,
            allowed: allowed.len(),
        });
    }
    Ok(allowed[..wanted].to_vec())
}

fn choose_list(list: &[u16], allowed: &[usize]) -> Result<Vec<usize>, ServeError> {
    let mut cpus: Vec<usize> = list.iter().copied().map(usize::from).collect();
    cpus.sort_unstable();
    cpus.dedup();
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(ServeError::CpuNotAllowed {
            cpu: *cpu,
            allowed: allowed.to_vec(),
        }),
        None => Ok(cpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_chosen_from_the_mask() {
        let allowed = [1, 3, 5];
        let check = |selection, expected: Option<&[usize]>| {
            let chosen = choose_from(&selection, &allowed).ok();
            assert_eq!(chosen.as_deref(), expected, "{selection:?}");
        };
        check(CoreSelection::Auto, Some(&[1, 3, 5]));
        check(CoreSelection::Count(2), Some(&[1, 3]));
        check(CoreSelection::Count(4), None);
        check(CoreSelection::Count(0), None);
        check(CoreSelection::Count(129), None);
        check(CoreSelection::List(vec![5, 1, 5]), Some(&[1, 5]));
        check(CoreSelection::List(vec![2]), None);
        check(CoreSelection::List(vec![]), None);
    }

    #[test]
    fn automatic_choice_stops_at_the_maximum() {
        let allowed: Vec<usize> = (0..200).collect();
        let chosen = choose_from(&CoreSelection::Auto, &allowed).unwrap();
        assert_eq!(chosen.len(), usize::from(ShardId::COUNT_MAX));
    }

    #[test]
    fn too_wide_selection_says_so() {
        let error = choose_from(&CoreSelection::Count(4), &[0, 1]).unwrap_err();
        assert!(
            error.to_string().contains("4 cores were asked for"),
            "{error}"
        );
        let list: Vec<u16> = (0..129).collect();
        let allowed: Vec<usize> = (0..129).collect();
        let error = choose_from(&CoreSelection::List(list), &allowed).unwrap_err();
        assert!(error.to_string().contains("at most 128"), "{error}");
    }
}
