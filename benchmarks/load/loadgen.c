/* The load of the benchmarks: pre-encoded MQTT 3.1.1 PUBLISH frames, by a clock or as fast as they are taken.
 *
 *   loadgen publish --port P [--host H]   connects to a broker and publishes
 *   loadgen source  --port P              is the broker: takes one subscriber at a time and streams to it
 *
 *   --qos 0|1  --series N  --payload BYTES  --cross-every N  --window N (QoS 1 in flight)  --burst-us N
 *   --sent FILE   appended: value and CLOCK_MONOTONIC ns of every reading above the limit, two int64 each
 *
 * Says "ready" once connected (subscribed to), then obeys lines on stdin: "go RATE COUNT" (RATE 0: flat out), each
 * answered by one line of JSON. Ends with stdin.
 *
 * Reading n belongs to series n mod N; its stamp is the wall clock's millisecond, always rising within a series. One
 * in `cross-every` has a value of its own from 100000000 up; the next of its series is ordinary again. A paced load
 * keeps absolute deadlines; it wakes at most every `burst-us` and then sends all that is due.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, IN = 64 * 1024, VALUE = 9, STAMP = 13, ALERT_FROM = 100000000 };

static const char *host = "127.0.0.1";
static int port, qos, window = 2000;
static long series = 1000, payload = 121, cross_every = 100, burst_ns = 200000;
static FILE *sent_file;

static int link_fd = -1, listen_fd = -1;
static long frame_bytes, id_at, stamp_at, value_at; /* offsets within a frame */
static char *frames;                                /* one ready frame for each series */
static int64_t *last_ms;
static char ordinary[1000][VALUE + 1];
static char out[CHUNK + 4096];
static char replies[4096]; /* answers that wait until a whole chunk is out */
static int replies_bytes;
static unsigned char in[IN];
static int in_bytes;
static int64_t number, alerts, published, acked; /* over all runs */
static int subscribed;

static void fail(const char *what)
{
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t clock_ns(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void make_frames(void)
{
    char topic[64];
    int digits = snprintf(topic, sizeof topic, "%ld", series - 1);
    int width = digits > 3 ? digits : 3;
    long topic_bytes = strlen("ioc/v1/energy/s/kw") + width;
    long remaining = 2 + topic_bytes + (qos ? 2 : 0) + payload;
    long head = 1 + (remaining < 128 ? 1 : remaining < 16384 ? 2 : 3);
    frame_bytes = head + remaining;
    id_at = head + 2 + topic_bytes;
    long body_at = id_at + (qos ? 2 : 0);
    stamp_at = body_at + strlen("{\"t\": ");
    value_at = stamp_at + STAMP + strlen(", \"v\": ");
    if (payload < 60 || frame_bytes > CHUNK / 2) {
        fprintf(stderr, "loadgen: a payload is 60 to %d bytes\n", CHUNK / 2 - 64);
        exit(2);
    }
    frames = malloc(frame_bytes * series);
    last_ms = calloc(series, sizeof *last_ms);
    if (!frames || !last_ms)
        fail("memory");
    for (long i = 0; i < series; i++) {
        unsigned char *p = (unsigned char *)frames + i * frame_bytes;
        *p++ = qos ? 0x32 : 0x30;
        for (long rest = remaining; rest; rest >>= 7)
            *p++ = (rest & 127) | (rest > 127 ? 128 : 0);
        *p++ = topic_bytes >> 8;
        *p++ = topic_bytes & 255;
        snprintf(topic, sizeof topic, "ioc/v1/energy/s%0*ld/kw", width, i);
        memcpy(p, topic, topic_bytes);
        p += topic_bytes + (qos ? 2 : 0);
        memset(p, ' ', payload);
        memcpy(p, "{\"t\": 0000000000000, \"v\": 000000000, \"q\": \"good\"", 48);
        p[payload - 1] = '}';
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(topic, sizeof topic, "%.2f         ", 20 + i / 100.0);
        memcpy(ordinary[i], topic, VALUE);
    }
}

static void digits(char *to, int width, int64_t of)
{
    for (char *p = to + width; p-- > to; of /= 10)
        *p = '0' + of % 10;
}

/* Appends the next reading to `to`. */
static char *next_frame(char *to, int64_t wall_ms, int64_t now_ns)
{
    static char stamp[STAMP];
    static int64_t stamp_ms;
    int64_t round = number / series, i = number % series;
    char *frame = frames + i * frame_bytes;
    int64_t ms = wall_ms > last_ms[i] ? wall_ms : last_ms[i] + 1;
    last_ms[i] = ms;
    if (ms != stamp_ms)
        digits(stamp, STAMP, stamp_ms = ms);
    memcpy(frame + stamp_at, stamp, STAMP);
    /* 37 and `cross-every` share no factor: no series is above the limit in two rounds running. */
    if ((i + 37 * round) % cross_every == cross_every - 1) {
        int64_t one[2] = {ALERT_FROM + alerts++, now_ns};
        digits(frame + value_at, VALUE, one[0]);
        if (sent_file)
            fwrite(one, sizeof one, 1, sent_file);
    } else
        memcpy(frame + value_at, ordinary[(i * 7 + round * 3) % 1000], VALUE);
    if (qos) {
        long id = published % 65535 + 1;
        frame[id_at] = id >> 8;
        frame[id_at + 1] = id & 255;
    }
    memcpy(to, frame, frame_bytes);
    number++;
    published++;
    return to + frame_bytes;
}

static void hang_up(void)
{
    close(link_fd);
    link_fd = -1;
    subscribed = in_bytes = replies_bytes = 0;
    acked = published;
}

static void reply(const void *bytes, int size)
{
    if (replies_bytes + size <= (int)sizeof replies) {
        memcpy(replies + replies_bytes, bytes, size);
        replies_bytes += size;
    }
}

/* One packet from the other side. */
static void take(const unsigned char *packet, const unsigned char *body, long size)
{
    switch (packet[0] >> 4) {
    case 1: /* CONNECT */
        if (size < 7 || body[6] != 4) {
            reply("\x20\x02\x00\x01", 4); /* only 3.1.1 */
            break;
        }
        reply("\x20\x02\x00\x00", 4);
        break;
    case 2: /* CONNACK */
        if (size < 2 || body[1]) {
            fprintf(stderr, "loadgen: the broker refuses the connection\n");
            exit(1);
        }
        subscribed = 1;
        break;
    case 3: /* PUBLISH of QoS 1: the monitor says that it is online */
        if (packet[0] & 2) {
            long at = 2 + (body[0] << 8 | body[1]);
            char ack[4] = {0x40, 2, body[at], body[at + 1]};
            reply(ack, 4);
        }
        break;
    case 4: /* PUBACK */
        acked++;
        break;
    case 8: { /* SUBSCRIBE */
        char granted[128] = {(char)0x90, 2, body[0], body[1]};
        for (long at = 2; at + 2 < size && granted[1] < 100; at += 3 + (body[at] << 8 | body[at + 1]))
            granted[2 + granted[1]++] = qos;
        reply(granted, 2 + granted[1]);
        subscribed = 1;
        break;
    }
    case 12: /* PINGREQ */
        reply("\xd0\x00", 2);
        break;
    }
}

static void receive(void)
{
    ssize_t got = recv(link_fd, in + in_bytes, IN - in_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        hang_up();
        return;
    }
    in_bytes += got;
    int at = 0;
    while (in_bytes - at >= 2) {
        long size = 0;
        int head = 1, more = 1;
        for (int shift = 0; more && at + head < in_bytes; shift += 7, head++) {
            size |= (long)(in[at + head] & 127) << shift;
            more = in[at + head] & 128;
        }
        if (more || at + head + size > in_bytes)
            break;
        take(in + at, in + at + head, size);
        at += head + size;
    }
    memmove(in, in + at, in_bytes -= at);
}

/* Waits for the link at most `wait_ms`; `out_too`: also until it can be written to. */
static int wait_link(int out_too, int wait_ms)
{
    struct pollfd one = {link_fd, POLLIN | (out_too ? POLLOUT : 0), 0};
    int found = poll(&one, 1, wait_ms);
    if (found > 0 && one.revents & (POLLIN | POLLHUP | POLLERR))
        receive();
    return found;
}

static void put(const char *bytes, long size)
{
    while (size && link_fd >= 0) {
        ssize_t done = send(link_fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done > 0) {
            bytes += done;
            size -= done;
        } else if (errno == EAGAIN || errno == EINTR)
            wait_link(1, 1000);
        else
            hang_up();
    }
}

static void answer(void)
{
    char copy[sizeof replies];
    while (replies_bytes && link_fd >= 0) {
        int size = replies_bytes;
        memcpy(copy, replies, size);
        replies_bytes = 0;
        put(copy, size);
    }
}

static void meet(void)
{
    if (listen_fd >= 0) {
        link_fd = accept(listen_fd, NULL, NULL);
        if (link_fd < 0)
            fail("accept");
    } else {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
        inet_pton(AF_INET, host, &to.sin_addr);
        link_fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(link_fd, (struct sockaddr *)&to, sizeof to))
            fail("connect");
        char connect_packet[64] = "\x10\x00\x00\x04MQTT\x04\x02\x00\x00";
        int id = snprintf(connect_packet + 14, 40, "ioc-load-%d", getpid());
        connect_packet[1] = 12 + id;
        connect_packet[13] = id;
        put(connect_packet, 14 + id);
    }
    int yes = 1;
    setsockopt(link_fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    while (link_fd >= 0 && !subscribed) {
        wait_link(0, 1000);
        answer();
    }
}

static void go(double rate, int64_t count)
{
    int64_t begun = clock_ns(CLOCK_MONOTONIC), wall_us = clock_ns(CLOCK_REALTIME) / 1000;
    int64_t done = 0, worst_lag = 0, acked_before = acked, alerts_before = alerts, now = begun;
    while (done < count && link_fd >= 0) {
        int64_t due = count - done, room = CHUNK / frame_bytes;
        now = clock_ns(CLOCK_MONOTONIC);
        if (rate > 0) {
            int64_t deadline = begun + (int64_t)(done / rate * 1e9);
            if (deadline > now) {
                int64_t wake = deadline > now + burst_ns ? deadline : now + burst_ns;
                struct timespec at = {wake / 1000000000, wake % 1000000000};
                clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
                now = clock_ns(CLOCK_MONOTONIC);
            }
            if (now - deadline > worst_lag)
                worst_lag = now - deadline;
            int64_t by_clock = (int64_t)((now - begun) / 1e9 * rate) + 1 - done;
            due = by_clock < due ? by_clock : due;
        }
        if (qos && window - (published - acked) < room)
            room = window - (published - acked);
        if (due > room)
            due = room;
        if (due <= 0) {
            wait_link(0, 1000);
            continue;
        }
        char *end = out;
        int64_t wall_ms = clock_ns(CLOCK_REALTIME) / 1000000;
        for (int64_t i = 0; i < due; i++)
            end = next_frame(end, wall_ms, now);
        put(out, end - out);
        done += due;
        if (qos || listen_fd >= 0) {
            wait_link(0, 0);
            answer();
        }
    }
    double seconds = (clock_ns(CLOCK_MONOTONIC) - begun) / 1e9;
    while (qos && link_fd >= 0 && acked < published)
        if (wait_link(0, 30000) == 0)
            break;
    int64_t ended = clock_ns(CLOCK_MONOTONIC);
    if (sent_file)
        fflush(sent_file);
    printf("{\"generator\": \"c\", \"sent\": %lld, \"seconds\": %.6f, \"rate\": %.1f, \"worst_lag_ms\": %.3f, "
           "\"acked\": %lld, \"alerts\": %lld, \"begun_ns\": %lld, \"ended_ns\": %lld, \"begun_wall_us\": %lld, "
           "\"frame_bytes\": %ld, \"broken\": %s}\n",
           (long long)done, seconds, done / seconds, worst_lag / 1e6, (long long)(acked - acked_before),
           (long long)(alerts - alerts_before), (long long)begun, (long long)ended, (long long)wall_us, frame_bytes,
           link_fd < 0 ? "true" : "false");
    fflush(stdout);
}

static void listen_here(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    inet_pton(AF_INET, host, &here.sin_addr);
    listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listen_fd, (struct sockaddr *)&here, sizeof here) || listen(listen_fd, 8))
        fail("listen");
}

int main(int argc, char **argv)
{
    const char *sent = NULL;
    if (argc < 2 || (strcmp(argv[1], "publish") && strcmp(argv[1], "source"))) {
        fprintf(stderr, "usage: loadgen publish|source --port P [options]\n");
        return 2;
    }
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *given = i + 1 < argc ? argv[i + 1] : NULL;
        if (!given) {
            fprintf(stderr, "loadgen: %s wants a value\n", name);
            return 2;
        } else if (!strcmp(name, "--host"))
            host = given;
        else if (!strcmp(name, "--port"))
            port = atoi(given);
        else if (!strcmp(name, "--qos"))
            qos = atoi(given);
        else if (!strcmp(name, "--series"))
            series = atol(given);
        else if (!strcmp(name, "--payload"))
            payload = atol(given);
        else if (!strcmp(name, "--cross-every"))
            cross_every = atol(given);
        else if (!strcmp(name, "--window"))
            window = atoi(given);
        else if (!strcmp(name, "--burst-us"))
            burst_ns = atol(given) * 1000;
        else if (!strcmp(name, "--sent"))
            sent = given;
        else {
            fprintf(stderr, "loadgen: no option %s\n", name);
            return 2;
        }
    }
    if (qos < 0 || qos > 1 || series < 1 || window < 1 || window > 60000 || cross_every < 2 || cross_every % 37 == 0) {
        fprintf(stderr, "loadgen: qos 0|1, series >= 1, window 1..60000, cross-every >= 2 and no multiple of 37\n");
        return 2;
    }
    if (sent && !(sent_file = fopen(sent, "ab")))
        fail(sent);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000);
    make_frames();
    if (!strcmp(argv[1], "source"))
        listen_here();
    while (link_fd < 0)
        meet();
    printf("ready\n");
    fflush(stdout);

    char line[256];
    int line_bytes = 0;
    for (;;) {
        struct pollfd both[2] = {{0, POLLIN, 0}, {link_fd >= 0 ? link_fd : listen_fd, POLLIN, 0}};
        if (poll(both, 2, -1) < 0)
            continue;
        if (both[1].revents) {
            if (link_fd >= 0)
                receive();
            else if (listen_fd >= 0)
                meet();
            else
                return 1; /* the broker is gone */
            answer();
        }
        if (both[0].revents) {
            if (read(0, line + line_bytes, 1) != 1)
                return 0;
            if (line[line_bytes] != '\n') {
                line_bytes = (line_bytes + 1) % (int)(sizeof line - 1);
                continue;
            }
            line[line_bytes] = 0;
            line_bytes = 0;
            double rate;
            long long count;
            if (sscanf(line, "go %lf %lld", &rate, &count) != 2) {
                fprintf(stderr, "loadgen: not understood: %s\n", line);
                return 2;
            }
            while (listen_fd >= 0 && link_fd < 0)
                meet();
            go(rate, count);
        }
    }
}
