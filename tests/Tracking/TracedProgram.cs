using System.IO.MemoryMappedFiles;
using System.Text;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Tracking;

/// <summary>A running <c>traced</c> (tests/TestPrograms/traced.c): it notices when it is disturbed.</summary>
internal sealed class TracedProgram : IDisposable
{
    private readonly string _file = Path.GetTempFileName();
    private readonly ChildProcess _process;
    private readonly MemoryMappedFile _mapped;
    private readonly MemoryMappedViewAccessor _view;

    private TracedProgram(string programs, string mode, IReadOnlyList<ChildDescriptor> descriptors)
    {
        File.WriteAllBytes(_file, new byte[4096]);
        _mapped = MemoryMappedFile.CreateFromFile(_file, FileMode.Open);
        _view = _mapped.CreateViewAccessor();
        Mode = mode;
        _process = ChildProcess.Start($"{programs}/traced", [_file, mode], descriptors: descriptors, newSession: true);
    }

    public int Pid => _process.Pid;

    public string Mode { get; }

    /// <summary>What it has done so far.</summary>
    public long Done => _view.ReadInt64(0);

    public static async Task<TracedProgram> StartAsync(string mode, params ChildDescriptor[] descriptors)
    {
        string programs = await TestPrograms.DirectoryAsync();
        TracedProgram program = new(programs, mode, descriptors);
        await program.WaitUntilItGoesOnAsync();
        return program;
    }

    public Task WaitUntilItGoesOnAsync()
    {
        long before = Done;
        return Condition.WaitAsync(
            () =>
            {
                AssertUndisturbed();
                return Done > before + 1;
            },
            TimeSpan.FromSeconds(30),
            $"'traced {Mode}' to go on");
    }

    public void AssertUndisturbed()
    {
        byte[] complaint = new byte[200];
        _view.ReadArray(64, complaint, 0, complaint.Length);
        string text = Encoding.UTF8.GetString(complaint).TrimEnd('\0');
        Assert.True(text.Length == 0, $"'traced {Mode}': {text}");
        Assert.False(_process.HasExited, $"'traced {Mode}' ended");
    }

    public async Task WaitForEndAsync(TimeSpan limit)
    {
        using CancellationTokenSource patience = new(limit);
        await _process.WaitAsync(patience.Token);
    }

    /// <summary>How many userfaultfds are in its table.</summary>
    public int Userfaultfds() => new DirectoryInfo($"/proc/{Pid}/fd").EnumerateFiles().Count(static file => file.LinkTarget == "anon_inode:[userfaultfd]");

    public void Dispose()
    {
        _process.Kill(Signal.SIGKILL);
        _process.WaitAsync(CancellationToken.None).GetAwaiter().GetResult();
        _view.Dispose();
        _mapped.Dispose();
        File.Delete(_file);
    }
}
