using System.Diagnostics;

namespace PostCopy.Tests.Faults;

/// <summary>Compiles the C program that plays a restored task: it registers its memory as CRIU does, gives the userfaultfd away and checks every byte.</summary>
public sealed class FaultingProgram : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("postcopy-faults-");

    public FaultingProgram()
    {
        string source = System.IO.Path.Combine(_directory.FullName, "task.c");
        File.WriteAllText(source, FaultingProgramSource.Text);
        Path = System.IO.Path.Combine(_directory.FullName, "task");
        using Process gcc = Process.Start(new ProcessStartInfo("gcc", ["-O1", "-Wall", "-Werror", "-pthread", "-o", Path, source]) { RedirectStandardError = true })!;
        string errors = gcc.StandardError.ReadToEnd();
        gcc.WaitForExit();
        Assert.True(gcc.ExitCode == 0, errors);
    }

    public string Path { get; }

    public void Dispose() => _directory.Delete(recursive: true);
}
