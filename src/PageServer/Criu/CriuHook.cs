using System.Globalization;
using System.Text;
using System.Threading.Channels;
using PostCopy.HandOff;
using PostCopy.Linux;

namespace PostCopy.Criu;

/// <summary>
/// Our end of CRIU's action script (<c>hook.sh</c>): hears of CRIU's steps and answers those that wait. Holding <c>post-dump</c> holds the freeze;
/// holding <c>post-restore</c> holds a complete copy that has not run.
/// </summary>
internal sealed class CriuHook : IDisposable
{
    private const string FreezerName = "freezer";

    private readonly string _directory;
    private readonly FileStream _events;
    private readonly FileStream _answers;
    private readonly FileStream _alive;
    private readonly Channel<CriuStep> _steps = Channel.CreateUnbounded<CriuStep>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Thread _listener;

    /// <summary>
    /// Lays the script and its FIFOs down in a session's directory, unless a process that is dead now did, and takes ownership of them.
    /// </summary>
    internal CriuHook(string directory)
    {
        _directory = directory;
        // A script that is there may be running: bash reads it piece by piece.
        if (!File.Exists(ScriptPath))
        {
            using Stream script = typeof(CriuHook).Assembly.GetManifestResourceStream("hook.sh")!;
            using FileStream file = File.Create(ScriptPath);
            script.CopyTo(file);
        }

        TakeOwnership();
        _events = OpenFifo("events");
        _answers = OpenFifo("answers");
        _alive = OpenFifo("alive");
        _listener = new Thread(Listen) { IsBackground = true, Name = "criu hook" };
        _listener.Start();
    }

    /// <summary>
    /// What CRIU must run as its action script. CRIU executes a path, without arguments, and the session's directory is mounted noexec on many
    /// hosts (/run on Debian): so it runs bash, which reads the script because <see cref="AddEnvironment"/> names it in BASH_ENV (bash(1)).
    /// </summary>
    internal static string Program => ChildPath.Find("bash") ?? throw new IOException("bash is not on PATH: CRIU's action script needs it");

    /// <summary>What the process that starts CRIU must have in its environment.</summary>
    internal void AddEnvironment(Dictionary<string, string> environment)
    {
        environment["BASH_ENV"] = ScriptPath;
        // bash, and the tar that CRIU runs for each tmpfs, read a locale's files before anything else, while everything stands still.
        environment["LC_ALL"] = "C";
    }

    /// <summary>The record that decides who may run; the script writes it too when its owner has died.</summary>
    internal WriteOnceRecord Decision => new(Path.Combine(_directory, HandOffWords.DecisionName));

    /// <summary>Written beside the decision when the right to run came back.</summary>
    internal WriteOnceRecord Returned => new(Path.Combine(_directory, HandOffWords.ReturnedName));

    /// <summary>Written beside the decision when the destination has everything.</summary>
    internal WriteOnceRecord Drained => new(Path.Combine(_directory, "drained"));

    /// <summary>Written before the source is asked for its word: from then on it may have given it.</summary>
    internal WriteOnceRecord Asked => new(Path.Combine(_directory, "asked"));

    /// <summary>
    /// True once tasks may have run: from CRIU's <c>post-resume</c> on, or from <c>pre-resume</c> where they could not be frozen (<see cref="FreezeWhileLettingGo"/>).
    /// </summary>
    internal bool MayHaveRun => File.Exists(Path.Combine(_directory, "ran"));

    private string ScriptPath => Path.Combine(_directory, "hook.sh");

    /// <summary>
    /// Has the script freeze the tasks in <c>pre-resume</c> and thaw them in <c>post-resume</c>. CRIU lets them go one by one: a task that kills
    /// another as soon as it runs would make it find a dead one, take that for a failed restore and kill all of them. CRIU itself may be in
    /// their cgroup (runc puts it there), so it is moved out, to our own. Should CRIU die in between, it is certain that none of them ran.
    /// </summary>
    internal void FreezeWhileLettingGo(FreezerCgroup freezer)
    {
        (string file, string frozen, string thawed) = freezer.Switch;
        File.WriteAllLines(Path.Combine(_directory, FreezerName), [file, frozen, thawed, Path.Combine(freezer.OwnDirectory, "cgroup.procs")]);
        // While the script waits for the answer: in pre-resume it would be downtime.
        _answers.Write("leave\n"u8);
        _answers.Flush();
    }

    /// <summary>The freezer that <see cref="FreezeWhileLettingGo"/> has named in a session's directory, whoever called it; null when it has none or is gone.</summary>
    internal static FreezerCgroup? FreezerIn(string sessionDirectory) => FreezerCgroup.NamedIn(Path.Combine(sessionDirectory, FreezerName));

    /// <summary>
    /// Has the script freeze the cgroup in <c>pre-dump</c>, which must be the very one that CRIU freezes. CRIU then finds it frozen and need not wait; in a container that
    /// computes it mostly waits for 100 ms (criu/seize.c, freeze_processes), which would be downtime. As CRIU found it, so it leaves it when it undoes the dump:
    /// whoever calls this thaws it after the end of a CRIU that did not succeed.
    /// </summary>
    internal void FreezeBeforeDump(FreezerCgroup freezer)
    {
        (string file, string frozen, string thawed) = freezer.Switch;
        (string report, string word) = freezer.Report;
        File.WriteAllLines(Path.Combine(_directory, "freeze-first"), [file, frozen, thawed, report, word]);
    }

    /// <summary>
    /// Completes when the CRIU that found what <see cref="FreezeBeforeDump"/> froze has ended, which it may do after the runc that started it.
    /// </summary>
    internal Task CriuEndedAsync() => CriuIn(_directory)?.WaitForEndAsync() ?? Task.CompletedTask;

    /// <summary>That CRIU, in a session's directory; null when there was none.</summary>
    internal static ProcessIdentity? CriuIn(string sessionDirectory)
    {
        string path = Path.Combine(sessionDirectory, "criu");
        string[] words = File.Exists(path) ? File.ReadAllText(path).Split() : [];
        return words is [var pid, var started, ..]
            ? new ProcessIdentity(int.Parse(pid, CultureInfo.InvariantCulture), ulong.Parse(started, CultureInfo.InvariantCulture))
            : null;
    }

    /// <summary>CRIU's steps as they come.</summary>
    internal IAsyncEnumerable<CriuStep> Steps => _steps.Reader.ReadAllAsync();

    /// <summary>CRIU's next step. Waits for as long as it takes; race it against the end of the process that runs CRIU.</summary>
    internal ValueTask<CriuStep> NextStepAsync(CancellationToken cancellation) => _steps.Reader.ReadAsync(cancellation);

    /// <summary>Answers the step that waits: yes lets CRIU go on, no makes it fail and undo.</summary>
    internal void Answer(bool yes)
    {
        _answers.Write(yes ? "0\n"u8 : "1\n"u8);
        _answers.Flush();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // The listener's read returns with this line, whatever CRIU does and wherever its script was ended.
        _events.Write("\nclose 0\n"u8);
        _events.Flush();
        _listener.Join();
        _events.Dispose();
        _answers.Dispose();
        _alive.Dispose();
    }

    private void TakeOwnership()
    {
        ProcessIdentity self = ProcessIdentity.Of(Environment.ProcessId);
        string path = Path.Combine(_directory, "owner");
        File.WriteAllText(path + ".new", string.Create(CultureInfo.InvariantCulture, $"{self.Pid} {self.StartTicks}\n"));
        File.Move(path + ".new", path, overwrite: true);
    }

    private FileStream OpenFifo(string name)
    {
        string path = Path.Combine(_directory, name);
        // One that is there is of a process that is dead now, and CRIU may be waiting at it.
        _ = Fifo.TryMake(path);
        return Fifo.Open(path);
    }

    private void Listen()
    {
        // Nothing in the stream changes how it is read: not even two bytes that look like the mark of another encoding.
        using StreamReader lines = new(_events, Encoding.ASCII, detectEncodingFromByteOrderMarks: false, leaveOpen: true);
        while (lines.ReadLine() is { } line)
        {
            long now = WallClock.NowUs;
            if (line.Length == 0)
            {
                continue;
            }

            string[] words = line.Split(' ');
            if (words[0] == "close")
            {
                break;
            }

            _ = int.TryParse(words.ElementAtOrDefault(1), CultureInfo.InvariantCulture, out int pid);
            _steps.Writer.TryWrite(new CriuStep(words[0], pid, now));
        }

        _steps.Writer.TryComplete();
    }
}
