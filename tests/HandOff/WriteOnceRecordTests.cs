using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using PostCopy.HandOff;

namespace PostCopy.Tests.HandOff;

[SupportedOSPlatform("linux")]
public sealed partial class WriteOnceRecordTests : IDisposable
{
    private const uint Nobody = 65534;

    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-record-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Nothing_written_reads_as_null() => Assert.Null(Record("decision").Read());

    [Fact]
    public void What_is_written_first_stays()
    {
        WriteOnceRecord record = Record("decision");

        Assert.Equal("handed-off", record.Write("handed-off"));
        Assert.Equal("handed-off", record.Write("cancelled"));
        Assert.Equal("handed-off", Record("decision").Read());
    }

    [Fact]
    public void A_shell_reads_what_was_written_and_cannot_write_it_again()
    {
        Record("decision").Write("handed-off");

        Assert.Equal("handed-off", Shell($"ln -s cancelled '{_directory}/decision' 2>/dev/null && echo written; readlink '{_directory}/decision'"));
    }

    [Fact]
    public void What_a_shell_wrote_stays()
    {
        Shell($"ln -s cancelled '{_directory}/decision'");

        Assert.Equal("cancelled", Record("decision").Write("handed-off"));
        Assert.Equal("cancelled", Record("decision").Read());
    }

    [Fact]
    public void Of_many_writers_at_once_exactly_one_wins_and_all_hear_which()
    {
        const int threads = 8;
        const int rounds = 200;
        using Process shell = StartShell("""while read -r path; do ln -s shell "$path" 2>/dev/null; readlink "$path"; done""");
        using Barrier start = new(threads + 1);
        string[,] heard = new string[rounds, threads];
        Thread[] writers = [.. Enumerable.Range(0, threads).Select(writer => new Thread(() =>
        {
            for (int round = 0; round < rounds; round++)
            {
                start.SignalAndWait();
                heard[round, writer] = Record($"round-{round}").Write($"writer-{writer}");
            }
        }))];
        Array.ForEach(writers, static writer => writer.Start());
        string?[] heardByShell = new string?[rounds];
        for (int round = 0; round < rounds; round++)
        {
            shell.StandardInput.WriteLine(Path.Combine(_directory, $"round-{round}"));
            start.SignalAndWait();
            heardByShell[round] = shell.StandardOutput.ReadLine();
        }

        Array.ForEach(writers, static writer => writer.Join());
        shell.StandardInput.Close();
        shell.WaitForExit();
        for (int round = 0; round < rounds; round++)
        {
            string? written = Record($"round-{round}").Read();
            Assert.Matches("^(shell|writer-[0-7])$", written);
            Assert.Equal(written, heardByShell[round]);
            Assert.All(Enumerable.Range(0, threads), writer => Assert.Equal(written, heard[round, writer]));
        }
    }

    [Fact]
    public void A_directory_that_is_gone_is_an_error_to_the_writer()
    {
        WriteOnceRecord record = new(Path.Combine(_directory, "gone", "decision"));

        Assert.ThrowsAny<IOException>(() => record.Write("cancelled"));
    }

    [Fact]
    public void A_file_that_is_no_record_is_an_error()
    {
        File.WriteAllText(Path.Combine(_directory, "decision"), "handed-off");

        Assert.ThrowsAny<IOException>(() => Record("decision").Write("cancelled"));
        Assert.ThrowsAny<IOException>(() => Record("decision").Read());
    }

    [Fact]
    public void What_may_not_be_looked_at_is_an_error_and_not_nothing()
    {
        Record("decision").Write("handed-off");
        File.SetUnixFileMode(_directory, UnixFileMode.None);
        try
        {
            Exception? writing = null, reading = null;
            Thread nobody = new(() =>
            {
                // Root may look everywhere; this thread, for the file system, is not root (setfsuid(2)).
                _ = setfsuid(Nobody);
                writing = Xunit.Record.Exception(() => Record("decision").Write("cancelled"));
                reading = Xunit.Record.Exception(() => Record("decision").Read());
            });
            nobody.Start();
            nobody.Join();
            Assert.IsType<UnauthorizedAccessException>(writing);
            Assert.IsType<UnauthorizedAccessException>(reading);
        }
        finally
        {
            File.SetUnixFileMode(_directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private WriteOnceRecord Record(string name) => new(Path.Combine(_directory, name));

    private static string Shell(string script)
    {
        using Process shell = StartShell(script);
        string said = shell.StandardOutput.ReadToEnd();
        shell.WaitForExit();
        return said.TrimEnd('\n');
    }

    private static Process StartShell(string script) => Process.Start(new ProcessStartInfo("sh", ["-c", script])
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
    })!;

    [LibraryImport("libc")]
    private static partial int setfsuid(uint uid);
}
