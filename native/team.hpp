// Threads that work on the parts of a task together, and wait for the next task.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

class Team {
   public:
    // A team of at most `size`, the caller among them. It is smaller where the system refuses a thread.
    explicit Team(int size) : ranges(new Range[size]) {
        try {
            for (int thread = 1; thread < size; thread++) others.emplace_back([this, thread] { serve(thread); });
        } catch (const std::system_error&) {
        }
    }
    ~Team() {
        is_over = true;
        announce();
        for (std::thread& other : others) other.join();
    }

    // Calls `work(part, thread)` for each part. Each thread begins with parts that are its own, so that it
    // finds in its cache what it has written there, and then takes those of the others. So a thread that wakes up late
    // is not waited for.
    void share(int count, const std::function<void(int, int)>& work) {
        if (others.empty() || count < 2) {
            for (int part = 0; part < count; part++) work(part, 0);
            return;
        }
        task = &work;
        unfinished = count;
        const int size = int(others.size()) + 1;
        for (int thread = 0; thread < size; thread++)
            ranges[thread].left = range(int64_t(count) * thread / size, int64_t(count) * (thread + 1) / size);
        announce();
        take_parts(0);
        while (unfinished.load() != 0) pause();
    }

   private:
    // The parts of a thread that nobody has taken. Both ends change at once, and the task is read after a part has been
    // taken, so nobody takes a part of a task that is over.
    struct alignas(64) Range {
        std::atomic<uint64_t> left{0};  // the first, and the end in the lower half
    };
    static constexpr std::chrono::microseconds PATIENCE{100};  // longer than most waits within a step

    std::unique_ptr<Range[]> ranges;
    std::vector<std::thread> others;
    const std::function<void(int, int)>* task = nullptr;
    std::atomic<int> unfinished{0}, announced{0}, asleep{0};
    std::atomic<bool> is_over{false};

    static uint64_t range(int64_t first, int64_t end) { return uint64_t(first) << 32 | uint64_t(end); }
    static void pause() { __builtin_ia32_pause(); }

    void announce() {
        announced++;
        if (asleep.load() > 0) announced.notify_all();
    }
    void take_parts(int thread) {
        const int size = int(others.size()) + 1;
        for (int i = 0; i < size; i++) {
            Range& range_of = ranges[(thread + i) % size];
            for (int part; (part = take(range_of, i == 0)) >= 0;) {
                (*task)(part, thread);
                unfinished--;
            }
        }
    }
    // Takes the first part of a range, or the last one. Returns -1 if there is none.
    static int take(Range& from, bool is_first) {
        uint64_t seen = from.left.load();
        for (;;) {
            const int first = int(seen >> 32), end = int(uint32_t(seen));
            if (first >= end) return -1;
            if (from.left.compare_exchange_weak(seen, is_first ? range(first + 1, end) : range(first, end - 1)))
                return is_first ? first : end - 1;
        }
    }
    void serve(int thread) {
        for (int seen = 0; !is_over;) {
            await_announcement(seen);
            seen = announced.load();
            take_parts(thread);
        }
    }
    // Spins for a while, since waking a thread takes longer than most waits, and then sleeps.
    void await_announcement(int seen) {
        const auto until = std::chrono::steady_clock::now() + PATIENCE;
        while (announced.load() == seen) {
            pause();
            if (std::chrono::steady_clock::now() < until) continue;
            asleep++;
            announced.wait(seen);
            asleep--;
        }
    }
};
