// Threads that work on the parts of a task together, and wait for the next task.
#pragma once
#include <atomic>
#include <functional>
#include <system_error>
#include <thread>
#include <vector>

class Team {
   public:
    // A team of at most `size`, the caller among them. It is smaller where the system refuses a thread.
    explicit Team(int size) {
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

    // Calls `work(part, thread)` for each part. Which thread takes a part is left to chance.
    void share(int count, const std::function<void(int, int)>& work) {
        if (others.empty() || count < 2) {
            for (int part = 0; part < count; part++) work(part, 0);
            return;
        }
        task = &work, parts = count, next_part = 0, busy = int(others.size());
        announce();
        take_parts(0);
        for (int spins = 0, left; (left = busy.load()) != 0; spins++)
            if (spins > SPINS) busy.wait(left);
    }

   private:
    static constexpr int SPINS = 2000;  // a few microseconds, which most waits take

    std::vector<std::thread> others;
    const std::function<void(int, int)>* task = nullptr;
    int parts = 0;
    std::atomic<int> next_part{0}, busy{0}, announced{0};
    std::atomic<bool> is_over{false};

    void announce() {
        announced++;
        announced.notify_all();
    }
    void take_parts(int thread) {
        for (int part; (part = next_part++) < parts;) (*task)(part, thread);
    }
    void serve(int thread) {
        for (int seen = 0;; seen++) {
            for (int spins = 0; announced.load() == seen; spins++)
                if (spins > SPINS) announced.wait(seen);
            if (is_over) return;
            take_parts(thread);
            if (--busy == 0) busy.notify_one();
        }
    }
};
