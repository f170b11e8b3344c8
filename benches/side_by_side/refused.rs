//! Refused tokens, put into the session file as a gateway would have left them there.

use std::path::Path;
use std::time::{Duration, SystemTime};

use redb::{Database, TableDefinition};

/// As many as the register is measured with.
pub const MANY: u64 = 100_000;

/// By when it is over, in milliseconds, and a digest: issued by when.
const REFUSALS: TableDefinition<'_, (u64, &[u8; 32]), u64> = TableDefinition::new("refusals");

/// Makes the file, with so many in it that are refused for an hour.
pub fn seed(file: &Path, count: u64) {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let until = (since + Duration::from_hours(1)).as_millis();
    let until = u64::try_from(until).unwrap();
    let database = Database::create(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(REFUSALS).unwrap();
    for number in 0..count {
        let mut digest = [0; 32];
        aws_lc_rs::rand::fill(&mut digest).unwrap();
        table.insert((until + number, &digest), u64::MAX).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
}
