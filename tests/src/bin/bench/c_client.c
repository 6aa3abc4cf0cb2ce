/* What no exporter can be faster than over one connection: MariaDB's client library asks for the two large answers, has them in memory, and throws
 * them away. With `page` it does the least that an exporter does besides: a ping first, and the numbers as a page, compressed as fast as zlib can; without
 * HTTP, checks, deadlines, or any other statement.
 * Once for each line on standard input; the seconds that it took go to standard output.
 * usage: MYSQL_PWD=… c_client USER PORT [page] */
#include <ctype.h>
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <zlib.h>

static char page[4 << 20];
static unsigned char compressed[4 << 20];
static size_t page_bytes;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(MYSQL *connection)
{
    fprintf(stderr, "c_client: %s\n", mysql_error(connection));
    exit(1);
}

static void print(MYSQL_RES *rows, const char *subsystem)
{
    MYSQL_ROW row;
    while ((row = mysql_fetch_row(rows))) {
        char name[128], *end;
        double value = strtod(row[1], &end);
        size_t i;
        if (end == row[1] || *end) {
            if (strcasecmp(row[1], "ON") && strcasecmp(row[1], "OFF"))
                continue;
            value = !strcasecmp(row[1], "ON");
        }
        for (i = 0; row[0][i] && i < sizeof name - 1; i++)
            name[i] = isalnum((unsigned char)row[0][i]) ? tolower(row[0][i]) : '_';
        name[i] = 0;
        page_bytes += snprintf(page + page_bytes, sizeof page - page_bytes,
                               "# HELP mysql_global_%s_%s A variable.\n# TYPE mysql_global_%s_%s unknown\nmysql_global_%s_%s %.17g\n",
                               subsystem, name, subsystem, name, subsystem, name, value);
    }
}

static void ask(MYSQL *connection, const char *statement, const char *subsystem)
{
    MYSQL_RES *rows;
    if (mysql_query(connection, statement) || !(rows = mysql_store_result(connection)))
        fail(connection);
    if (subsystem)
        print(rows, subsystem);
    mysql_free_result(rows);
}

int main(int argc, char **argv)
{
    int makes_page = argc == 4 && !strcmp(argv[3], "page");
    char line[8];
    z_stream gzip = {0};
    MYSQL *connection = mysql_init(NULL);
    if (argc != 3 && !makes_page)
        return 2;
    if (!mysql_real_connect(connection, "127.0.0.1", argv[1], getenv("MYSQL_PWD"), NULL, atoi(argv[2]), NULL, 0))
        fail(connection);
    /* 16 more than the window's bits: gzip. */
    if (deflateInit2(&gzip, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return 1;
    while (fgets(line, sizeof line, stdin)) {
        double start = now();
        page_bytes = 0;
        if (makes_page && mysql_ping(connection))
            fail(connection);
        ask(connection, "SHOW GLOBAL STATUS", makes_page ? "status" : NULL);
        ask(connection, "SHOW GLOBAL VARIABLES", makes_page ? "variables" : NULL);
        if (makes_page) {
            deflateReset(&gzip);
            gzip.next_in = (unsigned char *)page;
            gzip.avail_in = page_bytes;
            gzip.next_out = compressed;
            gzip.avail_out = sizeof compressed;
            if (deflate(&gzip, Z_FINISH) != Z_STREAM_END)
                return 1;
        }
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
    return 0;
}
