/* A preloaded library: every call that a network file system answers from its server takes DELAY_MS more below the directory DELAY_UNDER.

   cc -O2 -shared -fPIC benchmarks/slow_files.c -o slow_files.so -ldl */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void wait_for(const char *path) {
  const char *under = getenv("DELAY_UNDER"), *delay = getenv("DELAY_MS");
  if (path && under && delay && strncmp(path, under, strlen(under)) == 0) {
    usleep((useconds_t)(1000 * atof(delay)));
  }
}

static void wait_for_file(int file) {
  char link[32], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size > 0) {
    path[size] = 0;
    wait_for(path);
  }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENS(name)                                  \
  int name(const char *path, int flags, ...) {       \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    const mode_t mode = va_arg(rest, mode_t);        \
    va_end(rest);                                    \
    wait_for(path);                                  \
    return REAL(name)(path, flags, mode);            \
  }
#define OPENS_AT(name)                                    \
  int name(int directory, const char *path, int flags, ...) { \
    va_list rest;                                         \
    va_start(rest, flags);                                \
    const mode_t mode = va_arg(rest, mode_t);             \
    va_end(rest);                                         \
    wait_for(path);                                       \
    return REAL(name)(directory, path, flags, mode);         \
  }
#define ON_A_PATH(name, parameters, arguments) \
  int name parameters {                        \
    wait_for(path);                            \
    return REAL(name) arguments;               \
  }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
ON_A_PATH(stat64, (const char *path, struct stat64 *found), (path, found))
ON_A_PATH(lstat64, (const char *path, struct stat64 *found), (path, found))
ON_A_PATH(fstatat64, (int directory, const char *path, struct stat64 *found, int flags), (directory, path, found, flags))
ON_A_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_A_PATH(unlink, (const char *path), (path))
ON_A_PATH(rename, (const char *path, const char *to), (path, to))
ON_A_PATH(link, (const char *path, const char *to), (path, to))

DIR *opendir(const char *path) {
  wait_for(path);
  return REAL(opendir)(path);
}

int fsync(int file) {
  wait_for_file(file);
  return REAL(fsync)(file);
}
