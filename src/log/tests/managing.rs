//! The manager: dirs, creation, deletion, moves, failures, clean and unclean stops.

use super::*;
use crate::log::checkpoint;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[test]
fn create_restart_delete() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = Jobs::default();
    let manager = LogManager::start(options(&[dir.path()], &jobs)).unwrap();
    assert!(matches!(LogManager::start(options(&[dir.path()], &jobs)), Err(StartError::Locked(_))));
    let id = crate::topic::random_id();
    let log = manager.get_or_create(&tp(0), true, Some(id)).unwrap();
    assert!(Arc::ptr_eq(&log, &manager.get_or_create(&tp(0), false, None).unwrap()));
    assert!(matches!(
        manager.get_or_create(&tp(0), false, Some(crate::topic::random_id())),
        Err(LogError::InconsistentTopicId { .. })
    ));
    append(&log, client_batch(5, 10, NOW));
    log.set_high_watermark(4);
    manager.checkpoint_high_watermarks(manager.logs());
    manager.shutdown();
    let recovery = checkpoint::read_offsets(&RealDisk, &dir.path().join(checkpoint::RECOVERY_POINT_FILE)).unwrap();
    assert_eq!(recovery[&tp(0)], 5);

    let manager = LogManager::start(options(&[dir.path()], &jobs)).unwrap();
    assert!(!dir.path().join(dirs::CLEAN_SHUTDOWN_FILE).exists());
    let log = manager.get(&tp(0)).unwrap();
    assert_eq!((log.log_end_offset(), log.topic_id(), log.recovery_point()), (5, Some(id), 5));
    assert_eq!(manager.checkpointed_high_watermark(&tp(0)), 4);
    manager.async_delete(&tp(0), NOW).unwrap();
    assert!(manager.get(&tp(0)).is_none());
    assert!(log.dir().to_string_lossy().ends_with("-delete") && log.dir().exists());
    assert_eq!(manager.checkpointed_high_watermark(&tp(0)), 0);
    assert_eq!(manager.next_deletion_ms(), Some(NOW + 60_000));
    // The name is free again at once.
    let again = manager.get_or_create(&tp(0), true, None).unwrap();
    assert_eq!(again.log_end_offset(), 0);
    drop(manager);
    // Killed before the delay was over: the directory is found again and waits anew.
    let manager = LogManager::start(options(&[dir.path()], &jobs)).unwrap();
    assert!(log.dir().exists() && manager.get(&tp(0)).is_some());
    manager.delete_expired(NOW + 59_999);
    assert!(log.dir().exists());
    manager.delete_expired(NOW + 60_000);
    assert!(!log.dir().exists());
}

/// The mark of a clean shutdown spares the next start all recovery: nothing may be written behind it.
#[test]
fn no_log_is_made_after_a_clean_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
    let log = manager.get_or_create(&tp(0), true, None).unwrap();
    manager.shutdown();
    assert!(dir.path().join(dirs::CLEAN_SHUTDOWN_FILE).exists());
    assert!(matches!(manager.get_or_create(&tp(1), true, None), Err(LogError::Closed(_))));
    assert!(!dir.path().join("t-1").exists());
    assert!(matches!(log.truncate_to(0, NOW), Err(LogError::Closed(_))));
}

#[test]
fn what_kafka_has_cleaned_is_kept_until_the_partition_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
    manager.get_or_create(&tp(0), true, None).unwrap();
    manager.get_or_create(&tp(1), true, None).unwrap();
    let path = dir.path().join("cleaner-offset-checkpoint");
    let left_by_kafka = "0\n2\nt 0 77\nother 3 5\n";
    std::fs::write(&path, left_by_kafka).unwrap();
    manager.async_delete(&tp(1), NOW).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), left_by_kafka);
    manager.async_delete(&tp(0), NOW).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n1\nother 3 5\n");
}

/// What the cleaner has left is not taken for damage, also where its checkpoint cannot tell.
#[test]
fn segments_behind_a_hole_stay_unless_no_cleaner_was_there() {
    for (cleaned, stay) in [("0\n0\n", false), ("0\n1\nt 0 5\n", true), ("nonsense\n", true)] {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::default();
        let small =
            || ManagerOptions { default_config: config(&[("segment.bytes", "300")]), ..options(&[dir.path()], &jobs) };
        let manager = LogManager::start(small()).unwrap();
        let log = manager.get_or_create(&tp(0), true, None).unwrap();
        for _ in 0..4 {
            append(&log, client_batch(1, 150, NOW));
        }
        let paths: Vec<PathBuf> = log.segments().iter().map(|segment| segment.log_path()).collect();
        drop((log, manager));
        std::fs::write(&paths[1], []).unwrap();
        std::fs::write(dir.path().join(checkpoint::CLEANER_OFFSET_FILE), cleaned).unwrap();
        let found = LogManager::start(small()).unwrap().get(&tp(0)).unwrap().segments().len();
        assert_eq!(found, if stay { paths.len() } else { 2 }, "{cleaned:?}");
    }
}

#[test]
fn a_recovery_point_falls_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
    let log = manager.get_or_create(&tp(0), true, None).unwrap();
    for _ in 0..3 {
        append(&log, client_batch(2, 10, NOW));
    }
    log.flush().unwrap();
    manager.checkpoint_recovery_points();
    let written = || checkpoint::read_offsets(&RealDisk, &dir.path().join(checkpoint::RECOVERY_POINT_FILE)).unwrap();
    assert_eq!(written()[&tp(0)], 6);
    log.truncate_to(2, NOW).unwrap();
    assert_eq!(written()[&tp(0)], 2);
    log.truncate_fully_and_start_at(0, NOW).unwrap();
    assert_eq!(written()[&tp(0)], 0);
}

#[test]
fn work_that_finds_a_log_deleted_does_not_fail_the_dir() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = Jobs::default();
    let mut options = options(&[dir.path()], &jobs);
    options.default_config = config(&[("segment.bytes", "300")]);
    let manager = LogManager::start(options).unwrap();
    let log = manager.get_or_create(&tp(0), true, None).unwrap();
    for _ in 0..4 {
        append(&log, client_batch(2, 80, NOW));
    }
    manager.async_delete(&tp(0), NOW).unwrap();
    manager.delete_expired(NOW + 60_000);
    // The flushes that the rolls asked for, and a slow reader, come too late.
    jobs.run();
    assert!(matches!(log.read(0, 100, Isolation::LogEnd, true), Err(ReadError::Log(LogError::Closed(_)))));
    assert!(!manager.has_offline_dirs());
    manager.get_or_create(&tp(0), true, None).unwrap();
}

#[test]
fn new_logs_go_to_the_emptiest_dir() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let manager = LogManager::start(options(&[&a, &b], &Jobs::default())).unwrap();
    manager.set_preferred_dir(&tp(0), &a).unwrap();
    manager.set_preferred_dir(&tp(1), &a).unwrap();
    let placed: Vec<PathBuf> =
        (0..6).map(|n| manager.get_or_create(&tp(n), true, None).unwrap().log_dir().path().to_owned()).collect();
    assert_eq!(&placed[..4], [a.clone(), a.clone(), b.clone(), b.clone()]);
    assert_eq!(placed.iter().filter(|p| **p == a).count(), 3);
    assert!(manager.set_preferred_dir(&tp(9), root.path()).is_err());
}

#[test]
fn a_move_between_dirs() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let manager = LogManager::start(options(&[&a, &b], &Jobs::default())).unwrap();
    manager.set_preferred_dir(&tp(0), &a).unwrap();
    let old = manager.get_or_create(&tp(0), true, None).unwrap();
    append(&old, client_batch(5, 10, NOW));
    manager.set_preferred_dir(&tp(0), &b).unwrap();
    let new = manager.get_or_create_future(&tp(0)).unwrap();
    assert!(new.is_future() && new.dir().to_string_lossy().ends_with("-future"));
    let bytes = old.read(0, 10_000, Isolation::LogEnd, true).unwrap().slice.read().unwrap();
    new.append_as_follower(bytes, NOW).unwrap();
    manager.replace_current_with_future(&tp(0), NOW).unwrap();
    assert!(Arc::ptr_eq(&manager.get(&tp(0)).unwrap(), &new) && manager.get_future(&tp(0)).is_none());
    assert_eq!(new.dir(), b.join("t-0"));
    assert_eq!(append(&new, client_batch(1, 10, NOW)).first_offset, 5);
    assert_eq!(offsets_of(&new, Isolation::LogEnd), [0, 1, 2, 3, 4, 5]);
    manager.delete_expired(NOW + 60_000);
    assert!(!old.dir().exists());
    manager.shutdown();
    let manager = LogManager::start(options(&[&a, &b], &Jobs::default())).unwrap();
    assert_eq!(manager.get(&tp(0)).unwrap().log_end_offset(), 6);
}

#[test]
fn a_failing_dir_goes_offline_once_and_the_rest_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failures);
    let mut options = options(&[&a, &b], &Jobs::default());
    options.on_dir_failure = Arc::new(move |dir: &Path| seen.lock().push(dir.to_owned()));
    let manager = LogManager::start(options).unwrap();
    manager.set_preferred_dir(&tp(0), &a).unwrap();
    manager.set_preferred_dir(&tp(1), &b).unwrap();
    let broken = manager.get_or_create(&tp(0), true, None).unwrap();
    let fine = manager.get_or_create(&tp(1), true, None).unwrap();
    std::fs::remove_dir_all(&a).unwrap();
    broken.close_idle_files();
    broken.close_idle_files();
    let refused = broken.append_as_leader(client_batch(1, 1, NOW), 1, AppendOrigin::Client, NOW).unwrap_err();
    assert_eq!(refused.code(), crate::protocol::ErrorCode::KafkaStorageError);
    let again = broken.read(0, 100, Isolation::LogEnd, true).unwrap_err();
    assert_eq!(again.code(), crate::protocol::ErrorCode::KafkaStorageError);
    assert_eq!(*failures.lock(), std::slice::from_ref(&a));
    assert_eq!(manager.handle_dir_failure(&a), [tp(0)]);
    assert!(manager.get(&tp(0)).is_none());
    append(&fine, client_batch(1, 1, NOW));
    assert!(matches!(manager.get_or_create(&tp(0), false, None), Err(LogError::NoLogDir(_))));
    assert_eq!(manager.get_or_create(&tp(0), true, None).unwrap().log_dir().path(), b);
    assert!(matches!(manager.async_delete(&tp(7), NOW), Err(LogError::NoLogDir(_))));
    manager.shutdown();
    assert!(b.join(dirs::CLEAN_SHUTDOWN_FILE).exists());
}

#[test]
fn what_stops_the_start() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let start = || LogManager::start(options(&[&a, &b], &Jobs::default()));
    std::fs::create_dir_all(a.join("t-0")).unwrap();
    std::fs::create_dir_all(b.join("t-0")).unwrap();
    assert!(matches!(start(), Err(StartError::DuplicateLog { .. })));
    std::fs::remove_dir_all(b.join("t-0")).unwrap();
    std::fs::create_dir_all(b.join("lost+found")).unwrap();
    assert!(matches!(start(), Err(StartError::Load(LogError::Invalid(_)))));
    std::fs::remove_dir_all(b.join("lost+found")).unwrap();
    std::fs::create_dir_all(b.join(format!("t-1.{}-stray", "0".repeat(32)))).unwrap();
    let manager = start().unwrap();
    assert_eq!(manager.logs().len(), 1);
    assert!(matches!(LogManager::start(options(&[&a, &a], &Jobs::default())), Err(StartError::DuplicateDir(_))));
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(LogManager::start(options(&[&file], &Jobs::default())), Err(StartError::NoLiveDir(_))));
}

#[test]
fn a_kill_leaves_no_marker_and_recovery_keeps_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
    let log = manager.get_or_create(&tp(0), true, None).unwrap();
    append(&log, client_batch(5, 10, NOW));
    manager.checkpoint_recovery_points();
    drop((log, manager));
    assert!(!dir.path().join(dirs::CLEAN_SHUTDOWN_FILE).exists());
    let manager = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
    let log = manager.get(&tp(0)).unwrap();
    assert_eq!((log.log_end_offset(), log.recovery_point()), (5, 0));
}

#[test]
fn topic_settings_reach_present_and_future_logs() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::start(options(&[dir.path()], &Jobs::default())).unwrap();
    let log = manager.get_or_create(&tp(0), true, None).unwrap();
    manager.set_topic_config("t", Some(config(&[("retention.ms", "7")])));
    assert_eq!(log.config().retention_ms, 7);
    assert_eq!(manager.get_or_create(&tp(1), true, None).unwrap().config().retention_ms, 7);
    manager.set_default_config(config(&[("retention.ms", "8")]));
    assert_eq!(log.config().retention_ms, 7);
    manager.set_topic_config("t", None);
    assert_eq!(log.config().retention_ms, 8);
}
