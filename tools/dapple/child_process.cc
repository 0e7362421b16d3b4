#include "child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

namespace dapple::tool {
namespace {

constexpr useconds_t kPollMicroseconds = 2000;
constexpr int kCannotRun = 126, kNotFound = 127;  // as shells have them

// Only what may be called between fork and exec.
[[noreturn]] void Become(char* const* arguments, int out, int err,
                         const char* entrance, pid_t parent,
                         const sigset_t* mask) {
  // A parent that is killed takes the child along.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kCannotRun);
  // Others start as if from a shell (see PrepareProcess in main.cc). A signal
  // that came since the fork is the child's, not this program's handler's.
  for (const int number : {SIGINT, SIGTERM, SIGXFSZ}) signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, mask, nullptr);
#if defined(PR_SET_THP_DISABLE)
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
#endif
  if (entrance != nullptr) {
    const int group = open(entrance, O_WRONLY | O_CLOEXEC);
    if (group < 0 || write(group, "0", 1) != 1) {
      const char text[] = "cannot enter the memory control group\n";
      [[maybe_unused]] const ssize_t put = write(err, text, sizeof(text) - 1);
      _exit(kCannotRun);
    }
    close(group);
  }
  const int in = open("/dev/null", O_RDONLY);
  if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
    _exit(kCannotRun);
  execvp(arguments[0], arguments);
  _exit(errno == ENOENT ? kNotFound : kCannotRun);
}

// Closes its file descriptor.
struct Descriptor {
  explicit Descriptor(const std::string& path)
      : fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
  }
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd;
};

}  // namespace

Result<ChildOutcome> RunChild(const ChildCommand& command) {
  using Clock = std::chrono::steady_clock;
  const Descriptor out(command.out), err(command.err);
  if (out.fd < 0) return IoError(command.out + ": " + std::strerror(errno));
  if (err.fd < 0) return IoError(command.err + ": " + std::strerror(errno));
  std::vector<char*> arguments;
  for (const std::string& argument : command.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const char* entrance =
      command.group == nullptr ? nullptr : command.group->entrance().c_str();

  std::fflush(nullptr);
  const pid_t parent = getpid();
  const auto start = Clock::now();
  sigset_t all, mask;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &mask);
  const pid_t child = fork();
  if (child == 0)
    Become(arguments.data(), out.fd, err.fd, entrance, parent, &mask);
  const int fork_error = errno;
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  if (child < 0)
    return IoError(std::string("no process can be made: ") +
                   std::strerror(fork_error));

  ChildOutcome outcome;
  int state = 0;
  struct rusage usage = {};
  bool told = false;
  const auto elapsed = [&] {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  while (true) {
    const pid_t ended = wait4(child, &state, WNOHANG, &usage);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR)
      return IoError(std::string("a child was lost: ") + std::strerror(errno));
    if (command.cancel != nullptr && command.cancel->load() && !told) {
      kill(child, SIGTERM);
      told = true;
    }
    if (command.timeout_s > 0 && elapsed() > command.timeout_s &&
        !outcome.timed_out) {
      kill(child, SIGKILL);
      outcome.timed_out = true;
    }
    usleep(kPollMicroseconds);
  }
  outcome.wall_s = elapsed();
  if (WIFEXITED(state)) outcome.exit_code = WEXITSTATUS(state);
  if (WIFSIGNALED(state)) outcome.signal = WTERMSIG(state);
  outcome.peak_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return outcome;
}

Status RunForked(const std::function<Status()>& work) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return IoError(std::string("no pipe can be made: ") + std::strerror(errno));
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return IoError(std::string("no process can be made: ") +
                   std::strerror(error));
  }
  if (child == 0) {
    const Status status = work();
    const std::string& text = status.message();
    [[maybe_unused]] const ssize_t put =
        write(ends[1], text.data(), text.size());
    _exit(static_cast<int>(status.code()));
  }
  close(ends[1]);
  std::string text;
  char buffer[512];
  while (true) {
    const ssize_t got = read(ends[0], buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  int state = 0;
  while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(state))
    return Internal("a child process ended with signal " +
                    std::to_string(WIFSIGNALED(state) ? WTERMSIG(state) : 0));
  const auto code = static_cast<StatusCode>(WEXITSTATUS(state));
  return code == StatusCode::kOk ? Status::Ok() : Status(code, text);
}

}  // namespace dapple::tool
