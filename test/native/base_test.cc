#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/check.h"
#include "base/version.h"
#include "check.h"

FARPAGE_TEST(version_is_set) { CHECK_EQ(farpage::kBindingVersion, 1); }

FARPAGE_TEST(check_aborts_in_release_too) {
  const pid_t child = fork();
  if (child == 0) {
    close(STDERR_FILENO);
    FARPAGE_CHECK(farpage::kBindingVersion == 0, "the version is zero");
    _exit(0);
  }
  REQUIRE(child > 0);
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGABRT);
}
