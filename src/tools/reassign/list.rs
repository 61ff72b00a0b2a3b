//! `--list`: what is under way.

use super::cluster::{Cluster, Ongoing};
use super::{Ended, joined};
use crate::tools::output::out;

pub async fn list(cluster: &Cluster<'_>) -> Result<(), Ended> {
    out(&format!("{}\n", describe(&cluster.ongoing(None).await?)));
    Ok(())
}

fn describe(ongoing: &Ongoing) -> String {
    if ongoing.is_empty() {
        return "No partition reassignments found.".to_owned();
    }
    let part = |label: &str, ids: &[i32]| match ids {
        [] => String::new(),
        ids => format!(" {label}: {}.", joined(ids)),
    };
    let lines = ongoing.iter().map(|(tp, moving)| {
        let (adding, removing) = (part("adding", &moving.adding), part("removing", &moving.removing));
        format!("\n{tp}: replicas: {}.{adding}{removing}", joined(&moving.replicas))
    });
    format!("Current partition reassignments:{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::cluster::Move;
    use super::*;
    use crate::topic::TopicPartition;

    #[test]
    fn lines_as_recorded() {
        let moving = Move { replicas: vec![2, 1, 0], adding: vec![2], removing: vec![0] };
        let ongoing = Ongoing::from([(TopicPartition::new("re1", 0), moving)]);
        assert_eq!(
            describe(&ongoing),
            "Current partition reassignments:\nre1-0: replicas: 2,1,0. adding: 2. removing: 0."
        );
        assert_eq!(describe(&Ongoing::new()), "No partition reassignments found.");
    }
}
