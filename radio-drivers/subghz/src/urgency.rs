//! The radio's thread before all that are not in a hurry.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Asks for SCHED_FIFO at its lowest priority, which is above every thread that is not of that kind, and says once whether that is allowed
/// (root, CAP_SYS_NICE, or RLIMIT_RTPRIO of 1). Everything works without; a busy machine then is late more often.
pub(crate) fn hurry() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    match set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        Ok(()) => {
            tracing::info!("433 MHz: the radio's thread runs before others (SCHED_FIFO)");
            true
        }
        Err(error) => {
            tracing::info!(
                ?error,
                "433 MHz: the radio's thread has no priority over others; see docs/433-radio.md"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it is not allowed nothing changes, and that is said.
    #[test]
    fn it_is_as_it_says() {
        let of_thread = std::thread::spawn(|| {
            let allowed = hurry();
            // Field 41 of proc(5)'s stat; names have no spaces here.
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let after_name = stat.rsplit_once(") ").unwrap().1;
            let policy: u32 = after_name.split(' ').nth(41 - 3).unwrap().parse().unwrap();
            let priority: u32 = after_name.split(' ').nth(40 - 3).unwrap().parse().unwrap();
            (allowed, policy, priority)
        });
        let (allowed, policy, priority) = of_thread.join().unwrap();
        assert_eq!((policy, priority), if allowed { (1, 1) } else { (0, 0) });
    }
}
