//! Many files are adopted at a time (H), as a crawl does that meets a store of which the database knows nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::StorageIndex;
use runtime::reached;

use super::reconcile::{Recorded, record};
use super::shared::Shared;
use super::step::step;
use super::{Finding, Outcome, Step};
use crate::backend::Body;
use crate::database::DatabaseError;
use crate::share::ShareId;

impl Shared {
    /// Adopts what there is of these files in one transaction, and says what was done to each. Both sides are read again
    /// under the files' locks; a file of which there is more to be said than that all of it can be adopted is left out, and
    /// so is one that somebody works on: nobody waits for a lock who holds another.
    pub(crate) async fn adopt_files(
        self: &Arc<Self>,
        files: Vec<StorageIndex>,
    ) -> Result<BTreeMap<StorageIndex, Vec<Finding>>, DatabaseError> {
        let held: Vec<_> =
            files.into_iter().filter_map(|index| self.locks.try_lock(&self.id.name, index)).collect();
        let survey = self.backend.survey_files(held.iter().map(|held| held.index()).collect()).await;
        let found =
            survey.into_iter().filter_map(|(index, bodies)| Some((index, adoptions(index, &bodies.ok()?)?)));
        let found: Vec<_> = found.collect();
        let noted: Vec<_> = found.iter().map(|(index, _)| *index).collect();
        let now = self.now();
        let adopted = self.database.update("H", move |write| {
            let mut adopted = BTreeMap::new();
            for (index, mut findings) in found {
                if !write.rows(index)?.is_empty() {
                    continue;
                }
                for finding in &mut findings {
                    if let Recorded::Done = record(write, finding.id, finding.step, now)? {
                        finding.outcome = Outcome::Done;
                    }
                }
                adopted.insert(index, findings);
            }
            Ok(adopted)
        });
        let again = |_: &DatabaseError| {
            noted.iter().for_each(|index| self.unfinished.note(*index, self.runtime.now()))
        };
        let adopted = adopted.await.inspect_err(again)?;
        if adopted.len() > 1 {
            reached!("storage: several files are adopted at once");
        }
        for (index, findings) in &adopted {
            self.suspects.keep_only(*index, |_| false);
            self.looks.note(*index, self.runtime.now());
            findings.iter().for_each(|finding| self.tell(finding.id, finding.step, &finding.outcome));
        }
        Ok(adopted)
    }
}

/// What is to be done to the shares of a file without rows, if that is to adopt them all.
fn adoptions(index: StorageIndex, bodies: &BTreeMap<u32, Body>) -> Option<Vec<Finding>> {
    let finding = |(share, body): (&u32, &Body)| match step(None, Some(body), false) {
        Some(step @ Step::Adopt { .. }) => {
            Some(Finding { id: ShareId { index, share: *share }, step, outcome: Outcome::Left })
        }
        _ => None,
    };
    bodies.iter().map(finding).collect()
}
